"""timm's own weights, from a file that stands for what its hub has."""

from functools import partial

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import FrozenBatchNormAct2d

from backbones import build_backbone
from backbones.weights import hub

NAME = "regnety_002"


@pytest.fixture(scope="module")
def theirs():
    """A whole model of timm with statistics that matter, in eval mode."""
    torch.manual_seed(1)
    model = timm.create_model(NAME)
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 64, 64))
    return model.eval()


@pytest.fixture
def asked(theirs, tmp_path, monkeypatch):
    """Let its weights be what the hub has for every name; return what is asked for."""
    path, repositories = tmp_path / "model.safetensors", []
    save_file(theirs.state_dict(), path)

    def hub_file(repository, *, revision):
        assert revision is None
        repositories.append(repository)
        return path

    monkeypatch.setattr(hub, "hub_file", hub_file)
    return repositories


def features(model, image):
    return model.forward_intermediates(image, intermediates_only=True)


def test_imagenet_means_timms_default_weights(asked, theirs, image):
    backbone = build_backbone(f"timm/{NAME}", weights="imagenet", freeze=2).eval()
    torch.testing.assert_close([*backbone(image).values()], features(theirs, image))
    assert asked == [timm.get_pretrained_cfg(NAME).hf_hub_id]
    assert backbone.provenance.startswith("timm's regnety_002, from")
    assert backbone.conventions.mean == timm.get_pretrained_cfg(NAME).mean
    assert backbone.frozen == 2


@pytest.mark.parametrize("tag", ["timm/resnet18.a3_in1k", "timm/resnet18"])
def test_a_tag_means_those_weights(asked, tag):
    weights = "imagenet" if "." in tag else "a3_in1k"
    with pytest.raises(ValueError, match=r"does not hold weights of timm/resnet18\.a3_in1k: "):
        build_backbone(tag, weights=weights)  # the file has a RegNet
    assert asked == ["timm/resnet18.a3_in1k"]


def test_fixed_statistics_fewer_stages_and_one_channel_are_loaded_too(asked, theirs, image):
    del asked
    backbone = build_backbone(
        f"timm/{NAME}", weights="imagenet", norm="frozen_batch", out_features=["c3"], in_channels=1
    ).train()
    gray = image[:, :1]
    expected = features(theirs, gray.expand(-1, 3, -1, -1))[2]
    torch.testing.assert_close(backbone(gray)["c3"], expected, rtol=1e-4, atol=1e-4)
    assert len(backbone.conventions.mean) == 1
    assert any(isinstance(m, FrozenBatchNormAct2d) for m in backbone.modules())


def test_a_file_with_a_classifier_is_loaded_by_timms_names(theirs, save, image):
    file = {"weights": save(theirs.state_dict()), "conventions": "imagenet"}
    backbone = build_backbone(f"timm/{NAME}", **file).eval()
    torch.testing.assert_close([*backbone(image).values()], features(theirs, image))
    assert "dropped: 2 of other parts of the model, such as a classifier" in backbone.provenance
    part = build_backbone(f"timm/{NAME}", **file, out_features=["c2"])
    torch.testing.assert_close(part.eval()(image)["c2"], backbone(image)["c2"])


def test_a_file_of_another_model_is_refused(save):
    path = save(timm.create_model("resnet18").state_dict())
    with pytest.raises(ValueError, match=f"timm/{NAME}"):
        build_backbone(f"timm/{NAME}", weights=path)


def test_weights_that_cannot_be_had_say_three_ways_out(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "hf_hub_download", partial(hub.hf_hub_download, cache_dir=tmp_path))
    with pytest.raises(ConnectionError, match=r"KEEL_OFFLINE is set.*one of (three|these)|three "):
        build_backbone(f"timm/{NAME}", weights="imagenet")


def test_a_model_without_weights_says_so():
    without = next(n for n in timm.list_models("resnet*") if not timm.is_model_pretrained(n))
    with pytest.raises(ValueError, match=rf"^timm has no weights '{without}'"):
        build_backbone(f"timm/{without}", weights="imagenet")
