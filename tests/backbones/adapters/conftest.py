"""What the tests of every adapter need: narrow variants, which are quick to build and to save."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from backbones import build_backbone
from backbones.registry import BUILDERS
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS
from tests.backbones.adapters.small import CARD

NARROW = [
    "resnet18",
    "resnet50",
    "cbam_resnet18",
    "dynamic_resnet18",
    "res2net50_26w_4s",
    "resnetv2_18",
]


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    """Register each as ``narrow_<name>``, with a quarter of the channels and the same names.

    And as ``short_<name>``, which in addition has one block in each stage.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in NARROW:
            spec = replace(VARIANTS[name], width=16, stem_width=16)
            patch.setitem(BUILDERS, f"narrow_{name}", partial(build_resnet, spec))
            patch.setitem(
                BUILDERS, f"short_{name}", partial(build_resnet, replace(spec, depths=(1,) * 4))
            )
        yield


@pytest.fixture
def image():
    """A picture of one size that every backbone takes: (2, 3, 64, 64)."""
    return torch.rand(2, 3, 64, 64)


@pytest.fixture
def weights(tmp_path):
    """A file of a narrow ResNet-18, with statistics and conventions of its own."""
    path = tmp_path / "weights.pth"
    body = build_backbone("narrow_resnet18")
    for norm in (m for m in body.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(1, 2)
    torch.save({"state_dict": body.state_dict(), "keel": CARD}, path)
    return path
