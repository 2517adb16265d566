"""A backbone divided after its frozen stages is the same function, bit for bit."""

from unittest.mock import patch

import pytest
import torch
from torch import nn

from backbones import Backbone, build_backbone
from backbones.resnet.variants import VARIANTS
from tests.backbones.errors import refuses
from tests.backbones.networks import short, trained_looking

NAMES = ["resnet18", "resnetv2_18", "dynamic_resnet18", "resnet18d", "resnet20_cifar"]


def divided(backbone, image):
    frozen = backbone.frozen_features(image)
    kept = {name: feature.clone() for name, feature in frozen.items()}
    features = backbone.forward_from(frozen)
    for name, feature in frozen.items():  # a cache hands out the same tensors again
        assert torch.equal(feature, kept[name])
    return features


def equal(found, expected):
    return list(found) == list(expected) and all(torch.equal(found[k], expected[k]) for k in found)


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "float32") for name in NAMES), ("resnet18", "bfloat16"), ("resnetv2_18", "bfloat16")],
)
def test_both_halves_are_the_whole_at_every_stage(name, precision):
    backbone = trained_looking(short(name, drop_path=0.3)).train()
    image = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", enabled=precision == "bfloat16"):
        for count in range(len(backbone.stages()) + 1):
            backbone.freeze(count)
            torch.manual_seed(0)  # of the stochastic depth after the frozen stages
            expected = backbone(image)
            torch.manual_seed(0)
            assert equal(divided(backbone, image), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_divided(name):
    backbone = trained_looking(build_backbone(name, weights="random", freeze=3))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert equal(divided(backbone, image), backbone(image))


@pytest.mark.parametrize(
    ("wanted", "needed"),
    [(["c4", "c5"], ["c4"]), (["c2", "c5"], ["c2", "c4"]), (None, ["c1", "c2", "c3", "c4"])],
)
def test_only_what_is_needed_is_handed_on(wanted, needed):
    backbone = build_backbone("resnet18", weights="random", out_features=wanted, freeze=4).eval()
    frozen = backbone.frozen_features(torch.rand(1, 3, 64, 64))
    assert list(frozen) == needed


def test_the_frozen_half_is_not_computed_again():
    backbone = build_backbone("resnet18", weights="random", freeze=4)
    original = nn.Conv2d._conv_forward
    with patch.object(nn.Conv2d, "_conv_forward", autospec=True, side_effect=original) as convolve:
        frozen = backbone.frozen_features(torch.rand(1, 3, 64, 64))
        assert convolve.call_count == 15
        backbone.forward_from(frozen)
    assert convolve.call_count == 15 + 5  # two blocks of two, and the shortcut's


class Whole(Backbone):
    """One that offers no division."""

    def stages(self):
        return []

    def forward(self, x):
        return {"c0": x}


def test_one_that_cannot_be_divided_says_so_by_name():
    message = r"a Whole cannot be divided after its frozen stages; take one of the registry's own"
    for half in (Whole().frozen_features, lambda x: Whole().forward_from({"c0": x})):
        with refuses(message):
            half(torch.rand(1))
