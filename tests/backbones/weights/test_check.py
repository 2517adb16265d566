"""A file of another network is refused and named, and so is one with its strides elsewhere."""

import re
from functools import cache, partial

import pytest
import timm
import torch
import torchvision

from backbones import build_backbone, load_weights, registry
from backbones.registry import BUILDERS
from backbones.weights.architecture import describe, fitting_backbones
from tests.backbones.errors import refuses
from tests.backbones.networks import close, on_meta, starting, trained_looking
from tests.backbones.weights import spelling


@cache
def built(name, features):
    """A backbone without memory, which is only read."""
    return on_meta(build_backbone, name, out_features=features)


def known(*names):
    """Return builders that are called with options, as the registry's."""

    def build(name, options):
        return built(name, tuple(options.out_features or ()) or None)

    return {name: partial(build, name) for name in names}


PUBLISHED = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2")


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvisions_networks_look_like_themselves(name):
    state = on_meta(torchvision.models.get_model, name).state_dict()
    gray = state | {"conv1.weight": torch.empty(64, 1, 7, 7, device="meta")}
    for spelt in (state, spelling.below("module.", state), gray):
        assert fitting_backbones(spelt, known(*PUBLISHED)) == [name]


@pytest.mark.parametrize(
    "names",
    [("resnet34", "resnet50", "resnet50_caffe"), pytest.param(BUILDERS, marks=pytest.mark.slow)],
    ids=["three", "all"],
)
def test_a_file_for_the_other_task_is_refused_with_the_command(tmp_path, monkeypatch, names):
    """`train_seg.py backbone.weights=R-50.pkl`, whose default is resnet34."""
    monkeypatch.setattr(registry, "BUILDERS", {name: BUILDERS[name] for name in names})
    state = on_meta(torchvision.models.resnet50).state_dict()
    if len(names) == 3:  # a part of the file tells these apart
        state = starting(state, "conv1.", "bn1.", "layer1.", "fc.")
    state = {k: torch.ones(v.shape) for k, v in state.items()}
    path = spelling.write_pickle(tmp_path / "R-50.pkl", spelling.caffe2(state))
    command = f"backbone=resnet50_caffe backbone\\.weights={re.escape(str(path))}"
    with refuses(rf"looks like resnet50_caffe\. Nothing .*{command}"):
        build_backbone("resnet34", weights=str(path))
    build_backbone("resnet50_caffe", weights=str(path), out_features=["c2"])


def test_part_of_a_network_looks_like_all_that_begin_so():
    state = on_meta(torchvision.models.resnet50).state_dict()
    stem = starting(state, "conv1.", "bn1.", "layer1.")
    names = fitting_backbones(stem, known("resnet18", "resnet50", "resnet101", "resnext50_32x4d"))
    assert describe(stem, names) == " This looks like resnet50 or resnet101."


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("vit_tiny_patch16_224", "a Vision Transformer"),
        ("swin_tiny_patch4_window7_224", "a Swin Transformer"),
        ("convnext_tiny", "a ConvNeXt or MobileNet of timm's"),
        ("densenet121", "a DenseNet"),
        ("resnetv2_50x1_bit", "a BiT ResNet of timm's"),
    ],
)
def test_networks_of_another_family_are_called_by_it(name, family):
    state = on_meta(timm.create_model, name).state_dict()
    assert describe(state, []).startswith(f" This looks like {family}")


def test_a_vision_transformer_is_no_backbone(save):
    path = save({"cls_token": torch.zeros(1), "patch_embed.proj.weight": torch.zeros(1)})
    with refuses(r"does not hold weights of 'resnet18'.*This looks like a Vision Tr"):
        build_backbone("resnet18", weights=path)


def test_what_cannot_be_built_without_memory_is_left_out():
    def broken(_options):
        raise RuntimeError

    state = on_meta(torchvision.models.resnet18).state_dict()
    assert fitting_backbones(state, {"broken": broken} | known("resnet18")) == ["resnet18"]
    assert fitting_backbones({"x": torch.zeros(1)}, known("resnet18")) == []
    assert describe({"x": torch.zeros(1)}, []) == ""


ROWS = known("resnet50", "resnet50_caffe")


@pytest.fixture(scope="module")
def bottlenecks():
    """The tensors of a torchvision ResNet-50 with scales that matter, to the first stage."""
    model = torchvision.models.resnet50(weights=None)
    for tensor in (model.bn1.weight, model.bn1.running_mean):
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return starting(model.state_dict(), "conv1.", "bn1.", "layer1.", "fc.")


def load(path, name):
    backbone = build_backbone(name, out_features=["c2"])
    return load_weights(backbone, path, name=name, known=ROWS)


def refused(path, name, use):
    message = (
        r"is of a network whose bottlenecks stride in .*; those of "
        rf"'{name}' stride in .*: same shapes, other features\. Nothing was loaded; use "
        rf"backbone {use}\.$"
    )
    with refuses(message):
        load(path, name)


def mmdetections(style):
    text = spelling.MM2.format(mean="1, 2, 3", std="1, 1, 1", rgb=True, style=style)
    return lambda state: spelling.mmlab(state, text, "config")


def detectron2s(state):
    return {"model": spelling.detectron2(state), "__author__": "torchvision"}


def keels(name):
    card = spelling.HALF_CARD | {"backbone": name}
    return lambda state: {"state_dict": spelling.below("network.", state), "keel": card}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (dict, "resnet50"),  # torchvision's own names
        (detectron2s, "resnet50"),
        (lambda state: {"blobs": spelling.caffe2(state)}, "resnet50_caffe"),
        (mmdetections("caffe"), "resnet50_caffe"),
        (mmdetections("pytorch"), "resnet50"),
        *((keels(name), name) for name in ROWS),
    ],
)
def test_a_file_is_for_the_backbone_that_strides_as_it_does(bottlenecks, save, content, name):
    path = save(content(bottlenecks))
    load(path, name)
    refused(path, next(row for row in ROWS if row != name), name)


def test_folded_statistics_under_torchvisions_names_are_caffes(bottlenecks, save):
    """Such as resnet50_msra of open-mmlab: BGR, and nothing in the file says so."""
    means = {k: torch.zeros_like(v) for k, v in bottlenecks.items() if "mean" in k}
    variances = {k: torch.ones_like(v) for k, v in bottlenecks.items() if "_var" in k}
    path = save(bottlenecks | means | variances)
    refused(path, "resnet50", "resnet50_caffe")
    with refuses(r"comes from Caffe's, under torchvision's names, whose"):
        load(path, "resnet50_caffe")


def test_a_backbone_without_bottlenecks_strides_nowhere_else(bottlenecks, save):
    path = save({"blobs": spelling.caffe2(bottlenecks)})
    backbone = build_backbone("resnet50", out_features=["c2"])
    backbone.stride_in_1x1 = None
    load_weights(backbone, path, name="resnet50")


def test_a_preactivated_network_takes_the_norms_of_features_its_file_did_not_have(save):
    """A detector's backbone has no c1; its norm is that of the stage which follows."""
    few = trained_looking(build_backbone("resnetv2_18", out_features=["c3", "c5"]))
    options = {"weights": save(few.state_dict()), "conventions": "imagenet"}
    ours = build_backbone("resnetv2_18", **options).eval()
    image = torch.rand(1, 3, 64, 64)
    found = ours(image)
    inner = ours.layer2[0].norm1(ours.layer1(ours.maxpool(ours.conv1(image))))
    close(few(image), found)
    torch.testing.assert_close(found["c2"], inner.relu())
    torch.testing.assert_close(ours.norms["c4"].running_mean, few.layer4[0].norm1.running_mean)
    assert "added 15 tensors: norms of features, from the stages after" in ours.provenance


def test_gates_are_in_a_file_or_not_at_all(shallow, save):
    options = {"conventions": "imagenet", "out_features": ["c2"]}
    loaded = build_backbone("dynamic_resnet18", weights=save(shallow), **options)
    assert "8 tensors *.gate.* are not in the file and keep initial values" in loaded.provenance
    half = {k: v for k, v in loaded.state_dict().items() if "layer1.0.gate" not in k}
    with refuses(r"4 missing, such as layer1\.0\.gate\.openness"):
        load_weights(loaded, save(half), name="dynamic_resnet18", conventions="imagenet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.where(x < x.max(), torch.nan), "NaN or infinite in 1 tensors,"),
        (torch.Tensor.char, "has int8 in the place of"),
        (torch.Tensor.byte, "has uint8 in the place of"),
        (torch.Tensor.cfloat, "has complex64 in the place of"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(shallow, save, change, message):
    """Of a run that diverged; or quantised, whose integers would be weights up to 127."""
    key = "layer1.0.conv1.weight"
    path = save(shallow | {key: change(shallow[key])})
    with refuses(rf"{message} .*such as layer1\.0\.conv1"):
        build_backbone("resnet18", weights=path, out_features=["c2"])
