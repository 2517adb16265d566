"""Names of whole networks, bottlenecks and deep stems included: every one finds its place."""

import re

import pytest
import timm
import torch
import torchvision

from backbones.weights.renames import (
    from_caffe2,
    from_children,
    from_detectron2,
    from_mmlab,
    from_preactivation,
    from_transformers,
    preactivation_norms,
    unit_statistics,
)
from backbones.weights.unwrap import backbone_state, bare_names
from tests.backbones.networks import on_meta, without
from tests.backbones.weights import spelling

LAYERS = ("layer1", "layer2", "layer3", "layer4")


@pytest.fixture(scope="module")
def fifty():
    """torchvision's ResNet-50 without memory."""
    return on_meta(torchvision.models.resnet50).state_dict()


def body(state):
    return without(state, "fc.")


def identical(found, expected):
    """The same tensors, not copies, under the same names."""
    found, expected = ({k: id(v) for k, v in state.items()} for state in (found, expected))
    assert found == expected


@pytest.mark.parametrize(
    ("spell", "rename"),
    [
        (spelling.detectron2, from_detectron2),
        (lambda s: spelling.below("backbone.bottom_up.", spelling.detectron2(s)), from_detectron2),
        (spelling.transformers, from_transformers),
        (spelling.children, from_children),
    ],
    ids=["detectron2", "a detector", "transformers", "children"],
)
def test_every_name_of_resnet50_finds_its_place(fifty, spell, rename):
    identical(backbone_state(rename(spell(fifty)), first_conv="conv1.weight"), body(fifty))


def test_every_blob_of_resnet50_finds_its_place(fifty):
    learned = {k: v for k, v in body(fifty).items() if "running" not in k and "batches" not in k}
    found = from_caffe2(spelling.caffe2(fifty))
    identical(found, learned)
    statistics = {k for k in fifty if k.endswith(("running_mean", "running_var"))}
    assert set(unit_statistics(found)) == statistics
    assert unit_statistics(body(fifty)) == {}


def test_blobs_with_statistics_or_group_norm_find_their_place():
    x = torch.zeros(1)
    names = {
        "res_conv1_bn_rm": "bn1.running_mean",
        "res2_0_branch2a_bn_riv": "layer1.0.bn1.running_var",
        "res_conv1_gn_s": "bn1.weight",
        "res5_2_branch2c_gn_b": "layer4.2.bn3.bias",
        "conv1_w": "conv1.weight",
    }
    assert list(from_caffe2(dict.fromkeys(names, x))) == list(names.values())


def mmlab_of_timm(key):
    """timm's name of a deep stem or an SE block as mmpretrain has it."""
    name = re.sub(r"^conv1\.(\d)", r"stem.\1", key)
    return "backbone." + re.sub(r"\.se\.fc(\d)\.", r".se_layer.conv\1.conv.", name)


@pytest.mark.parametrize("name", ["resnet50d", "resnet34d", "seresnet50"])
def test_mmlabs_deep_stems_and_squeezes_are_timms(name):
    state = body(on_meta(timm.create_model, name).state_dict())
    spelt = {mmlab_of_timm(key): value for key, value in state.items()}
    first = "conv1.weight"
    if name != "seresnet50":
        first = "conv1.0.weight"
        spelt = {k.replace("backbone.bn1.", "backbone.stem.7."): v for k, v in spelt.items()}
    assert set(spelt) != {f"backbone.{key}" for key in state}
    identical(backbone_state(from_mmlab(spelt), first_conv=first), state)


def test_timms_preactivation_gets_a_norm_for_every_feature():
    state = on_meta(timm.create_model, "resnetv2_50").state_dict()
    found = from_preactivation(state)
    norms = preactivation_norms(found)
    assert {key.partition(".")[0] for key in found} == {"conv1", "norms", *LAYERS}
    assert len(found) == len(state) - len(["head.fc.weight", "head.fc.bias"])
    sources = {f"norms.c{k}": f"stages.{k - 1}.blocks.0.norm1" for k in (1, 2, 3, 4)}
    for feature, source in (sources | {"norms.c5": "norm"}).items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            assert (found | norms)[f"{feature}.{part}"] is state[f"{source}.{part}"]
    assert found["layer3.4.conv2.weight"] is state["stages.2.blocks.4.conv2.weight"]
    projection = state["stages.3.blocks.0.downsample.conv.weight"]
    assert found["layer4.0.downsample.0.weight"] is projection


def test_two_models_side_by_side_keep_their_names():
    state = {"module.x": torch.zeros(1), "x": torch.ones(1)}
    assert list(bare_names(state)) == ["module.x", "x"]
