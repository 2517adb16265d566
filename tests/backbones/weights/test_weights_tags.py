"""Which file a tag or a path stands for."""

from pathlib import Path

import pytest
import torch

from backbones import build_backbone, load_weights
from tests.backbones.errors import refuses
from tests.backbones.weights.small import build, holds

PUBLISHED = {  # https://docs.pytorch.org/vision/stable/models.html, version 1 and 2
    "resnet18": ("resnet18-f37072fd",),
    "resnet34": ("resnet34-b627a593",),
    "resnet50": ("resnet50-0676ba61", "resnet50-11ad3fa6"),
    "resnet101": ("resnet101-63fe2227", "resnet101-cd907fc2"),
    "resnet152": ("resnet152-394f9c45", "resnet152-f82ba261"),
    "resnext50_32x4d": ("resnext50_32x4d-7cdf4587", "resnext50_32x4d-1a0047aa"),
    "resnext101_32x8d": ("resnext101_32x8d-8ba56ff5", "resnext101_32x8d-110c445d"),
    "resnext101_64x4d": ("resnext101_64x4d-173b62eb",),
    "wide_resnet50_2": ("wide_resnet50_2-95faca4d", "wide_resnet50_2-9ba9bcbe"),
    "wide_resnet101_2": ("wide_resnet101_2-32ee1156", "wide_resnet101_2-d733dc28"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_tags_are_torchvisions_official_files(name, tmp_path, monkeypatch):
    asked = []

    def urlopen(request, **_):
        asked.append(request.full_url)
        raise OSError("stopped here")

    monkeypatch.setattr("backbones.weights.download.urlopen", urlopen)
    monkeypatch.setenv("KEEL_OFFLINE", "0")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with torch.device("meta"):
        backbone = build_backbone(name, out_features=["c1"])
    tags = {"imagenet": 0, "imagenet_v1": 0, "IMAGENET1K_V1": 0, "imagenet_v2": 1}
    known = {tag: version for tag, version in tags.items() if version < len(PUBLISHED[name])}
    for tag, version in known.items():
        kept = tmp_path / "hub" / "checkpoints" / f"{PUBLISHED[name][version]}.pth"
        with pytest.raises(ConnectionError, match=f"stopped here.*copy that file to {kept};"):
            load_weights(backbone, tag, name=name)
    files = [PUBLISHED[name][version] for version in known.values()]
    assert asked == [f"https://download.pytorch.org/models/{file}.pth" for file in files]


def test_a_tag_whose_file_is_there_is_loaded_without_the_network(shallow, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("backbones.weights.download.hashlib.file_digest", lambda *_: _Digest())
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(shallow, folder / "resnet18-f37072fd.pth")
    backbone = build(weights="imagenet")
    holds(backbone, shallow)
    assert backbone.provenance.startswith(
        "weights from https://download.pytorch.org/models/resnet18-f37072fd.pth (imagenet)\n"
    )


class _Digest:
    def hexdigest(self):
        return "f37072fd"


def test_a_misspelt_tag_is_answered_with_the_nearest_one():
    with refuses(r"^unknown weights of resnet18 'imagnet'; did you mean 'im"):
        build(weights="imagnet")
    with refuses(r"Known: IMAGENET1K_V1, imagenet, imagenet_v1\.$"):
        build(weights="imagenet_v2")  # torchvision has no second version of this one


def test_a_tag_for_a_backbone_that_nobody_published_is_refused():
    backbone = build()
    message = r"^no weights are published for 'mine', got 'imagenet'; give a file, .*, or timm:mine"
    with refuses(message):
        load_weights(backbone, "imagenet", name="mine")


def test_a_path_is_a_path_and_not_a_tag(shallow, save, tmp_path, monkeypatch):
    path = save(shallow, "imagenet")  # no suffix
    holds(build(weights=path, conventions="imagenet"), shallow)
    monkeypatch.setenv("HOME", str(tmp_path))
    holds(build(weights="~/imagenet", conventions="imagenet"), shallow)
    for gone in ("gone.pth", "folder/gone", Path("gone"), tmp_path / "gone"):
        with pytest.raises(FileNotFoundError, match=r"^no weight file '.*gone"):
            build(weights=gone)
