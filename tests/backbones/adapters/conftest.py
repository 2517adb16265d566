"""What the tests of every adapter need: narrow variants, which are quick to build and to save."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from backbones import build_backbone
from backbones.registry import BUILDERS
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS
from tests.backbones.adapters.small import CARD
from tests.backbones.networks import trained_looking

NARROW = ["resnet18", "resnet50", "cbam_resnet18", "dynamic_resnet18", "resnetv2_18"]
NARROW += ["res2net50_26w_4s"]


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    """Register each as ``narrow_<name>``, with a quarter of the channels and the same names.

    And as ``short_<name>``, which in addition has one block in each stage.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in NARROW:
            narrow = replace(VARIANTS[name], width=16, stem_width=16)
            short = replace(narrow, depths=(1,) * 4)
            patch.setitem(BUILDERS, f"narrow_{name}", partial(build_resnet, narrow))
            patch.setitem(BUILDERS, f"short_{name}", partial(build_resnet, short))
        yield


@pytest.fixture
def image():
    """A picture of one size that every backbone takes: (2, 3, 64, 64)."""
    return torch.rand(2, 3, 64, 64)


@pytest.fixture
def narrow():
    """The state dict of a narrow ResNet-18, with statistics of its own."""
    return trained_looking(build_backbone("narrow_resnet18")).state_dict()


@pytest.fixture
def weights(narrow, tmp_path):
    """A file of it, with conventions of its own."""
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": narrow, "keel": CARD}, path)
    return path
