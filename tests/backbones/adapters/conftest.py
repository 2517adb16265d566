"""What the tests of every adapter need: narrow variants, which are quick to build and to save."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from backbones.registry import BUILDERS
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS

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
    """Register each as ``narrow_<name>``, with a quarter of the channels and the same names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NARROW:
            spec = replace(VARIANTS[name], width=16, stem_width=16)
            patch.setitem(BUILDERS, f"narrow_{name}", partial(build_resnet, spec))
        yield


@pytest.fixture
def image():
    """A picture of one size that every backbone takes: (2, 3, 64, 64)."""
    return torch.rand(2, 3, 64, 64)
