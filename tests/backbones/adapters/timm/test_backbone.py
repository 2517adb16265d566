"""timm's models under our contract: timm's own features, our stages, timm's names."""

import copy
import math
from functools import cache

import pytest
import timm
import torch

from backbones import build_backbone
from tests.backbones.adapters.small import filled

QUICK = ["mobilenetv3_small_050", "test_convnext", "test_efficientnet", "test_resnet"]
SWIN = "swin_tiny_patch4_window7_224"
SLOW = "convnext_atto efficientnet_b0 hrnet_w18_small regnety_002 resnet18 resnetv2_18"
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in [*SLOW.split(), SWIN])]
FROM_C2 = {"convnext_atto", "test_convnext", SWIN}  # no feature of stride 2


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@cache
def built(name):
    return build_backbone(f"timm/{name}")


@pytest.fixture
def backbone(name):
    return copy.deepcopy(built(name)).train()


@pytest.fixture
def image(name):
    """Two pictures of a size that the model takes."""
    return torch.rand(2, 3, *([224, 224] if name.endswith("_224") else [64, 64]))


def test_its_features_are_timms_own(name, backbone, image):
    filled(backbone).eval()
    theirs = timm.create_model(name, features_only=True).eval()
    own = {key.replace(".", "_"): value for key, value in backbone.file_state().items()}
    mine = {key.replace(".", "_"): key for key in theirs.state_dict()}
    given = {key: own[flat] for flat, key in mine.items() if flat in own}
    theirs.load_state_dict(given, strict=False)
    assert set(mine) - set(own) <= {key for key in mine if "norm_pre" in key}
    with torch.no_grad():
        expected, got = theirs(image), backbone(image)
    kept = [k for k, r in enumerate(theirs.feature_info.reduction()) if r > 1]
    assert all(value.std() > 0 for value in got.values())
    for (key, value), index in zip(got.items(), kept, strict=True):
        last = getattr(theirs, "output_fmt", "NCHW") == "NHWC"
        other = expected[index].permute(0, 3, 1, 2) if last else expected[index]
        torch.testing.assert_close(value, other)
        assert backbone.channels[key] == theirs.feature_info.channels()[index]
        assert backbone.strides[key] == theirs.feature_info.reduction()[index]


def test_features_are_named_by_their_stride(name, backbone):
    names = ["c1", "c2", "c3", "c4", "c5"][name in FROM_C2 :]
    assert list(backbone.strides) == names
    assert [f"c{int(math.log2(stride))}" for stride in backbone.strides.values()] == names


def test_the_stages_hold_every_tensor_once(backbone):
    states = [[m.state_dict(keep_vars=True) for m in stage] for stage in backbone.stages()]
    stages = [[t for state in stage for t in state.values()] for stage in states]
    ids = [id(t) for stage in stages for t in stage]
    assert len(stages) == 5
    assert sorted(ids) == sorted(id(t) for t in backbone.state_dict(keep_vars=True).values())
    assert all(stages)


def test_names_in_a_file_are_timms_own(name, backbone):
    whole = set(timm.create_model(name).state_dict())
    ours = set(backbone.file_state())
    assert ours <= whole
    assert whole - ours == backbone.unbuilt
    assert set(backbone.state_dict()) == {f"net.{key}" for key in ours}
    assert backbone.first_conv in backbone.state_dict()


def test_stages_past_the_last_feature_are_not_built(name, backbone, image):
    part = build_backbone(f"timm/{name}", out_features=["c3"])
    assert list(part.channels) == ["c3"]
    assert len(part.stages()) == 3
    assert len(list(part.parameters())) < len(list(backbone.parameters()))
    part(image)["c3"].mean().backward()
    unused = {key for key, p in part.named_parameters() if p.grad is None}
    # HRNet fuses its branches in modules that timm does not take apart.
    assert unused == set() or name.startswith("hrnet")
