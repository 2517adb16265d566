"""Which file a tag, a path, an address or a hub stands for; offline no connection is opened."""

import hashlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import timm
import torch
from huggingface_hub import errors
from safetensors.torch import save_file

from backbones import UserError, build_backbone, load_weights
from backbones.weights import hub
from backbones.weights.conventions import CONVENTIONS
from backbones.weights.locate import locate, published_images
from tests.backbones.errors import refuses
from tests.backbones.networks import on_meta
from tests.backbones.weights.small import build, holds


@pytest.fixture(autouse=True)
def _online(monkeypatch, tmp_path):
    """Nothing but files of the test's own is asked for."""
    monkeypatch.setenv("KEEL_OFFLINE", "0")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def published(shallow, save):
    head = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = save(shallow | head, "a b.pth.tar")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("digits", [8, 64])
def test_an_address_with_a_hash_is_fetched_and_kept(shallow, published, tmp_path, digits):
    path, sha256 = published
    address = f"{path.as_uri()}#sha256={sha256[:digits].upper()}"
    backbone = build(weights=address)
    assert torch.equal(backbone.conv1.weight, shallow["conv1.weight"])
    assert backbone.provenance.startswith(f"weights from {address}\n  origin: torchvision\n")
    kept = tmp_path / "torch/hub/checkpoints" / f"a b.pth-{sha256[:8]}.tar"
    assert kept.read_bytes() == path.read_bytes()
    path.unlink()
    build(weights=address)


def test_an_address_of_another_hash_leaves_nothing(published, tmp_path):
    path, sha256 = published
    with pytest.raises(ConnectionError, match="invalid hash value"):
        build(weights=f"{path.as_uri()}#sha256={'0' * 8}{sha256[8:]}")
    assert [p for p in (tmp_path / "torch").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    "fragment", ["", "#", "#sha256=", "#sha256=123", "#md5=12345678", "#sha256=xy345678"]
)
def test_an_address_without_a_hash_is_refused(fragment):
    address = f"https://example.org/resnet18.pth{fragment}"
    message = f"^got the address {re.escape(repr(address))}; expected its hash behind it, #sha256="
    with refuses(message):
        build(weights=address)


IMAGES = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
CONFIG = replace(timm.get_pretrained_cfg("resnet18.a1_in1k"), **IMAGES)


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """Stands in for the hub: what is in the folder is there; what was asked for is recorded."""
    asked = []
    (tmp_path / "repo").mkdir()

    def download(repo, name, *, revision, local_files_only):
        asked.append((repo, name, revision, local_files_only))
        path = tmp_path / "repo" / name
        if path.exists():
            return str(path)
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not kept here")
        raise errors.RemoteEntryNotFoundError("404", response=answer(404))

    monkeypatch.setattr(hub, "hf_hub_download", download)
    return SimpleNamespace(asked=asked, folder=tmp_path / "repo")


def answer(status):
    """What the hub's errors want to know of a response."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


def test_timms_weights_come_with_timms_conventions(shallow, repository, monkeypatch):
    monkeypatch.setattr(hub.timm, "get_pretrained_cfg", lambda _: CONFIG)
    save_file(shallow, repository.folder / "model.safetensors")
    backbone = build(weights="timm:resnet18.a1_in1k")
    assert torch.equal(backbone.conv1.weight, shallow["conv1.weight"])
    assert (backbone.conventions.mean, backbone.conventions.std) == (CONFIG.mean, CONFIG.std)
    assert backbone.provenance.startswith("weights from timm:resnet18.a1_in1k\n")
    assert ("timm/resnet18.a1_in1k", "model.safetensors", None, False) in repository.asked


def test_timms_weights_of_an_address_are_fetched_with_their_hash(shallow, save, monkeypatch):
    path = save(shallow)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(path.with_name(f"resnet18-{digest[:8]}.pth"))
    config = replace(CONFIG, hf_hub_id="", url=path.as_uri())
    monkeypatch.setattr(hub.timm, "get_pretrained_cfg", lambda _: config)
    assert torch.equal(build(weights="timm:resnet18").conv1.weight, shallow["conv1.weight"])
    config.url = "https://example.org/resnet18.pth"
    with refuses(r"^https.*resnet18\.pth is published without a hash; down"):
        build(weights="timm:resnet18")


def test_timms_names_are_checked_before_anything_is_fetched(repository):
    with refuses(r"^timm has no weights 'resnet18\.a1_in1l'; did you mean 'resn"):
        build(weights="timm:resnet18.a1_in1l")
    message = r"^timm's 'resnetblur50' is a resnetblur50, and cannot be loaded into 'resnet18'; use"
    with refuses(message):
        build(weights="timm:resnetblur50")
    assert repository.asked == []


def test_a_repository_is_read_with_its_notes(shallow, repository):
    torch.save(shallow, repository.folder / "pytorch_model.bin")
    notes = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (repository.folder / "preprocessor_config.json").write_text(json.dumps(notes))
    backbone = build(weights="hf:owner/name@v1.2")
    assert torch.equal(backbone.conv1.weight, shallow["conv1.weight"])
    assert (backbone.conventions.mean, backbone.conventions.std) == ((0.5,) * 3, (0.25,) * 3)
    assert {asked[::2] for asked in repository.asked} == {("owner/name", "v1.2")}


def test_a_repository_without_weights_is_called_so(repository):
    (repository.folder / "config.json").write_text("{}")
    message = r"^'owner/name' has neither model\.safetensors nor pytorch_model\.bin \(revision m"
    with refuses(message):
        locate("hf:owner/name", name="resnet18")


THREE = (
    r"^cannot download .* of owner/name \(.*\)\. Do one of three things: run `hf download "
    r"owner/name` where there is a network and copy .* here; give a file of your own, .*random\.$"
)

NOT_THERE = r"^the hub has no 'owner/name' at revision 'main', or keeps"
NO_SPACE = r"no space in .* for config\.json of owner/name; nothing of it"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (errors.RepositoryNotFoundError("401", response=answer(401)), UserError, NOT_THERE),
        (errors.LocalEntryNotFoundError("no route"), ConnectionError, THREE),
        (OSError("broken"), ConnectionError, THREE),
        (OSError(28, "No space left on device"), OSError, NO_SPACE),
    ],
    ids=["no repository", "no route", "a broken connection", "a full disk"],
)
def test_a_download_that_fails_says_why(monkeypatch, error, kind, message):
    monkeypatch.setattr(hub, "hf_hub_download", Mock(side_effect=error))
    with pytest.raises(kind, match=message):
        locate("hf:owner/name", name="resnet18")


def test_offline_only_asks_for_what_is_kept(shallow, repository, monkeypatch):
    monkeypatch.setenv("KEEL_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=THREE) as caught:
        locate("hf:owner/name", name="resnet18")
    assert "KEEL_OFFLINE is set" in str(caught.value)
    save_file(shallow, repository.folder / "model.safetensors")
    assert locate("hf:owner/name", name="resnet18").path.parent == repository.folder
    assert all(local for *_, local in repository.asked)


@pytest.mark.parametrize("weights", ["timm:resnet18", "hf:owner/name"])
def test_a_package_that_is_missing_is_named(weights, monkeypatch):
    monkeypatch.delitem(sys.modules, "backbones.weights.hub")
    monkeypatch.delattr("backbones.weights.hub")
    monkeypatch.setitem(sys.modules, "timm", None)
    missing = "need the package 'timm', which is not installed: pip install timm"
    with refuses(f"^weights='{weights}' {missing}"):
        load_weights(build(), weights, name="resnet18")


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
    urlopen = Mock(side_effect=OSError("stopped here"))
    monkeypatch.setattr("backbones.weights.download.urlopen", urlopen)
    backbone = on_meta(build_backbone, name, out_features=["c1"])
    tags = {"imagenet": 0, "imagenet_v1": 0, "IMAGENET1K_V1": 0, "imagenet_v2": 1}
    known = {tag: version for tag, version in tags.items() if version < len(PUBLISHED[name])}
    for tag, version in known.items():
        file = f"{PUBLISHED[name][version]}.pth"
        kept = tmp_path / "torch/hub/checkpoints" / file
        with pytest.raises(ConnectionError, match=f"stopped here.*copy that file to {kept};"):
            load_weights(backbone, tag, name=name)
        asked = urlopen.call_args.args[0].full_url
        assert asked == f"https://download.pytorch.org/models/{file}"
    assert urlopen.call_count == len(known)


def test_a_tag_whose_file_is_there_is_loaded_without_the_network(shallow, tmp_path, monkeypatch):
    monkeypatch.setenv("KEEL_OFFLINE", "1")
    monkeypatch.setattr("backbones.weights.download.sha256_of", lambda _: "f37072fd" + "0" * 56)
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    torch.save(shallow, folder / "resnet18-f37072fd.pth")
    backbone = build(weights="imagenet")
    holds(backbone, shallow)
    address = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert backbone.provenance.startswith(f"weights from {address} (imagenet)\n")


def test_a_misspelt_tag_is_answered_with_the_nearest_one():
    with refuses(r"^unknown weights of resnet18 'imagnet'; did you mean 'im"):
        build(weights="imagnet")
    with refuses(r"Known: IMAGENET1K_V1, imagenet, imagenet_v1\.$"):
        build(weights="imagenet_v2")  # torchvision has no second version of this one


def test_a_tag_for_a_backbone_that_nobody_published_is_refused():
    message = r"^no weights are published for 'mine', got 'imagenet'; give a file, .*, or timm:mine"
    with refuses(message):
        load_weights(build(), "imagenet", name="mine")


def test_a_path_is_a_path_and_not_a_tag(shallow, save, tmp_path, monkeypatch):
    path = save(shallow, "imagenet")  # no suffix
    holds(build(weights=path, conventions="imagenet"), shallow)
    monkeypatch.setenv("HOME", str(tmp_path))
    holds(build(weights="~/imagenet", conventions="imagenet"), shallow)
    for gone in ("gone.pth", "folder/gone", Path("gone"), tmp_path / "gone"):
        with pytest.raises(FileNotFoundError, match=r"^no weight file '.*gone"):
            build(weights=gone)


def test_published_weights_come_before_a_folder_of_their_name(tmp_path, monkeypatch):
    """A folder of images is often called imagenet."""
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "IMAGENET1K_V1"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("backbones.weights.locate.fetch_published", lambda url: Path(url))
        assert locate(name, name="resnet18").publisher == "torchvision"
        assert published_images(name, name="resnet18") == CONVENTIONS["imagenet"]
        with refuses(rf"{name} is a folder without model.safetensors"):
            locate(f"./{name}", name="resnet18")
