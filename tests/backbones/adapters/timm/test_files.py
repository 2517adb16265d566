"""timm's own files as its hub lays them out and by timm's tags, into timm's networks and ours."""

import json
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import timm
import torch
from timm.layers import FrozenBatchNormAct2d
from timm.models import save_for_hf

from backbones import build_backbone, list_backbones
from backbones.plugins import timms_name
from backbones.weights import hub
from backbones.weights.locate import in_timm
from tests.backbones.errors import refuses
from tests.backbones.networks import trained_looking
from tests.backbones.weights.spelling import HALF_CARD
from tests.backbones.weights.spelling import hub as hub_folder

slow = partial(pytest.param, marks=pytest.mark.slow)
QUICK = ["test_efficientnet", "resnetv2_18"]
SLOW = ["resnet18", "test_convnext", "convnext_atto", "regnety_002", "mobilenetv3_small_050"]
FILES = ["model.safetensors", "pytorch_model.bin", ""]
CASES = [*((QUICK[0], file) for file in FILES), (QUICK[1], "")]
CASES += [slow(QUICK[1], file) for file in FILES[:2]]
CASES += [slow(name, file) for name in SLOW for file in FILES]


@pytest.fixture(scope="module", params=[*QUICK, *map(slow, SLOW)])
def laid(request, tmp_path_factory):
    """A model of timm's with statistics that matter, and its folder, written by timm itself."""
    model = trained_looking(timm.create_model(request.param))
    folder = tmp_path_factory.mktemp(request.param)
    save_for_hf(model, str(folder), safe_serialization="both")
    return SimpleNamespace(name=request.param, model=model, folder=folder)


def same(backbone, model, image):
    expected = model.forward_intermediates(image, intermediates_only=True)
    found = list(backbone.eval()(image).values())
    torch.testing.assert_close(found[-1], expected[-1])


@pytest.mark.parametrize(("laid", "file"), CASES, indirect=["laid"])
def test_a_file_of_timms_hub_is_loaded_into_timms_network(laid, file, image):
    backbone = build_backbone(f"timm/{laid.name}", weights=laid.folder / file)
    same(backbone, laid.model, image)
    stated = timm.get_pretrained_cfg(laid.name)
    assert (backbone.conventions.mean, backbone.conventions.std) == (stated.mean, stated.std)
    assert "(config.json beside it)" in backbone.provenance
    assert "\n  origin: timm" in backbone.provenance


@pytest.mark.parametrize("weights", ["hf:timm/x.a1_in1k", "timm:{}"])
def test_the_hub_and_timms_names_are_read_by_the_same_code(laid, weights, image, monkeypatch):
    def download(_repository, name, **_):
        path = laid.folder / name
        if not path.is_file():
            raise hub.errors.EntryNotFoundError(name)
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    backbone = build_backbone(f"timm/{laid.name}", weights=weights.format(laid.name))
    same(backbone, laid.model, image)


def test_a_file_of_timms_hub_is_loaded_into_our_network_of_that_name(laid, image):
    if laid.name not in list_backbones():
        with refuses(rf"unknown backbone '{laid.name}'"):
            build_backbone(laid.name, weights=laid.folder)
        return
    ours = build_backbone(laid.name, weights=laid.folder).eval()
    expected = laid.model.forward_features(image)
    torch.testing.assert_close(ours(image)["c5"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("laid", [QUICK[0], *map(slow, [*QUICK[1:], *SLOW])], indirect=True)
def test_a_configuration_from_before_timm_0_9_is_read(laid, tmp_path):
    config = json.loads((laid.folder / "config.json").read_text())
    flat = config["pretrained_cfg"] | {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    flat |= {"architecture": laid.name, "num_features": 9}
    hub_folder(tmp_path, laid.model.state_dict(), config=flat)
    backbone = build_backbone(f"timm/{laid.name}", weights=tmp_path)
    assert backbone.conventions.mean == (0.1, 0.2, 0.3)
    other = "resnet34" if laid.name != "resnet34" else "resnet18"
    with refuses(rf"is of a {laid.name}, says config\.json beside it"):
        build_backbone(f"timm/{other}", weights=tmp_path)


def test_a_file_of_gray_images_is_loaded(tmp_path, image):
    model = timm.create_model("test_efficientnet", in_chans=1, num_classes=3).eval()
    save_for_hf(model, str(tmp_path))
    backbone = build_backbone("timm/test_efficientnet", weights=tmp_path, in_channels=1)
    same(backbone, model, image[:, :1])
    assert len(backbone.conventions.mean) == 1


@pytest.mark.parametrize("into", ["resnet18", "timm/resnet18", "timm/test_convnext"])
@pytest.mark.parametrize("architecture", ["resnet34", "resnetblur18", "gone_net", "regnety_002"])
def test_advice_names_backbones_that_exist(into, architecture, tmp_path):
    config = {"architecture": architecture, "pretrained_cfg": HALF_CARD}
    hub_folder(tmp_path, {"conv1.weight": torch.zeros(64, 3, 7, 7)}, config=config)
    with refuses(rf"is of a {architecture}, says config") as caught:
        build_backbone(into, weights=tmp_path)
    quoted = set(str(caught.value).split("'")) - {into}
    named = [part for part in quoted if part.startswith((architecture, "timm/"))]
    assert all(name in list_backbones() or timm.is_model(timms_name(name)) for name in named)
    assert bool(named) == timm.is_model(architecture)


def test_timms_names_of_another_network_advise_backbones_that_exist():
    for name in ("resnet50", "timm/resnet50"):
        with refuses(r"use backbone 'timm/resnetblur50', or weights such as"):
            hub.timm_file("resnetblur50", name=name)
    with refuses(r"or timm:resnet18 where timm has it"):
        build_backbone("timm/resnet18", weights="no_such_tag")


def test_what_timm_can_build_is_known():
    assert in_timm("timm/resnet18")
    assert in_timm("timm/resnet18.a1_in1k")
    assert not in_timm("resnet18")
    assert not in_timm("timm/resnet18_of_nobody")


# timm's own tags, from a file that stands for what its hub has.

TINY = "timm/test_efficientnet"


@pytest.fixture(scope="module")
def tiny():
    return trained_looking(timm.create_model("test_efficientnet"))


@pytest.fixture
def asked(tiny, tmp_path, monkeypatch):
    """Let its weights be what the hub has for every name; return what is called for them."""
    hub_file = Mock(return_value=hub_folder(tmp_path, tiny.state_dict()))
    monkeypatch.setattr(hub, "hub_file", hub_file)
    return hub_file


def features(model, image):
    return model.forward_intermediates(image, intermediates_only=True)


def test_imagenet_means_timms_default_weights(asked, tiny, image):
    backbone = build_backbone(TINY, weights="imagenet", freeze=2).eval()
    torch.testing.assert_close([*backbone(image).values()], features(tiny, image))
    known = timm.get_pretrained_cfg("test_efficientnet")
    asked.assert_called_once_with(known.hf_hub_id, revision=None)
    assert backbone.provenance.startswith("timm's test_efficientnet, from")
    assert backbone.conventions.mean == known.mean
    assert backbone.frozen == 2


@pytest.mark.parametrize("tag", ["timm/resnet18.a3_in1k", "timm/resnet18"])
def test_a_tag_means_those_weights(asked, tag):
    weights = "imagenet" if "." in tag else "a3_in1k"
    with refuses(r"does not hold weights of timm/resnet18\.a3_in1k: "):
        build_backbone(tag, weights=weights)  # the file has an EfficientNet
    asked.assert_called_once_with("timm/resnet18.a3_in1k", revision=None)


@pytest.mark.usefixtures("asked")
def test_fixed_statistics_fewer_stages_and_one_channel_are_loaded_too(tiny, image):
    options = {"norm": "frozen_batch", "out_features": ["c3"], "in_channels": 1}
    backbone = build_backbone(TINY, weights="imagenet", **options).train()
    gray = image[:, :1]
    expected = features(tiny, gray.expand(-1, 3, -1, -1))[2]
    torch.testing.assert_close(backbone(gray)["c3"], expected, rtol=1e-4, atol=1e-4)
    assert len(backbone.conventions.mean) == 1
    assert any(isinstance(m, FrozenBatchNormAct2d) for m in backbone.modules())


def test_a_file_with_a_classifier_is_loaded_by_timms_names(tiny, save, image):
    file = {"weights": save(tiny.state_dict()), "conventions": "imagenet"}
    backbone = build_backbone(TINY, **file).eval()
    torch.testing.assert_close([*backbone(image).values()], features(tiny, image))
    assert "dropped: 2 of other parts of the model, such as a classifier" in backbone.provenance
    part = build_backbone(TINY, **file, out_features=["c2"])
    torch.testing.assert_close(part.eval()(image)["c2"], backbone(image)["c2"])


def test_a_file_of_another_model_is_refused(save):
    path = save(timm.create_model("resnet18").state_dict())
    with refuses(TINY):
        build_backbone(TINY, weights=path)


def test_weights_that_cannot_be_had_say_three_ways_out(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "hf_hub_download", partial(hub.hf_hub_download, cache_dir=tmp_path))
    with pytest.raises(ConnectionError, match=r"KEEL_OFFLINE is set.*one of (three|these)|three "):
        build_backbone(TINY, weights="imagenet")


def test_a_model_without_weights_says_so():
    without = next(n for n in timm.list_models("resnet*") if not timm.is_model_pretrained(n))
    with refuses(rf"^timm has no weights '{without}'"):
        build_backbone(f"timm/{without}", weights="imagenet")
