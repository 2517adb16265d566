"""Backbones as folders: the same features come back, and nobody's files are replaced."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from backbones import Backbone, build_backbone, from_pretrained, save_pretrained
from backbones.lineage import Step
from backbones.registry import BUILDERS
from backbones.weights import hub, write
from tests.backbones.errors import refuses
from tests.backbones.networks import tiny, trained_looking

RUN = Step(task="detection", data="bccd", sha256="ab")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(BUILDERS, "tiny", tiny)


def made(**options):
    usual = {"norm": "batch", "in_channels": 1, "out_features": ["c2", "c3"]}
    backbone = trained_looking(build_backbone("tiny", **usual | options))
    mean, std = (0.1,) * len(backbone.conventions.mean), (0.4,) * len(backbone.conventions.std)
    backbone.lineage = (RUN,)
    return backbone.adopt(replace(backbone.conventions, mean=mean, std=std, epsilon=1e-3))


@pytest.mark.parametrize(
    "options", [{}, {"norm": "frozen_batch", "weights": "random"}, {"norm": "group"}]
)
def test_a_folder_gives_the_same_backbone(tmp_path, options):
    backbone = made(**options)
    assert save_pretrained(backbone, tmp_path / "a") == tmp_path / "a"
    names = {"model.safetensors", "config.json", "README.md"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    found = from_pretrained(tmp_path / "a", freeze=1).eval()
    assert (found.conventions, found.frozen) == (backbone.conventions, 1)
    assert found.lineage[0] == RUN
    assert (found.lineage[1].source, len(found.lineage)) == ("model.safetensors", 2)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = backbone.eval()(image)
        torch.testing.assert_close(found(image), expected, rtol=0, atol=0)
        file = from_pretrained(tmp_path / "a" / "model.safetensors", out_features=["c3"]).eval()
        torch.testing.assert_close(file(image)["c3"], expected["c3"], rtol=0, atol=0)
    assert list(file.channels) == ["c3"]


def test_the_file_states_everything_and_the_readme_leaves_the_licence_to_the_user(tmp_path):
    save_pretrained(made(), tmp_path / "a")
    with safe_open(tmp_path / "a" / "model.safetensors", framework="pt") as file:
        card = json.loads(file.metadata()["keel"])
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["keel"] == card
    stated = {"backbone": "tiny", "norm": "batch", "in_channels": 1, "out_features": ["c2", "c3"]}
    stated |= {"mean": [0.1], "std": [0.4], "epsilon": 1e-3, "range": [0, 1]}
    stated |= {"channel_order": "gray", "stride_in_1x1": None, "output_stride": 32}
    assert card.items() >= stated.items()
    assert card["lineage"] == [
        {"source": "", "sha256": "ab", "task": "detection", "data": "bccd", "date": "", "keel": ""}
    ]
    readme = (tmp_path / "a" / "README.md").read_text()
    assert "license:" not in readme
    assert "**Licence**: not stated" in readme
    assert "detection on bccd" in readme


@pytest.mark.parametrize("name", ["mybackbone", ".", "imagenet", "resnet18"])
def test_a_folder_needs_no_slash(tmp_path, monkeypatch, name):
    """Not even one that is called as published weights are, if a path was given."""
    backbone = made()
    save_pretrained(backbone, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    options = {"norm": "batch", "in_channels": 1, "out_features": ["c2", "c3"]}
    for found in (from_pretrained(name), build_backbone("tiny", weights=name, **options)):
        assert torch.equal(found.conv1.weight, backbone.conv1.weight)


def test_a_folder_is_loaded_from_the_hub(tmp_path, monkeypatch):
    save_pretrained(made(), tmp_path / "a")
    asked = []

    def download(repository, name, *, revision, local_files_only):  # noqa: ARG001
        asked.append((repository, revision))
        if not (tmp_path / "a" / name).exists():
            raise hub.errors.LocalEntryNotFoundError("not there")
        return str(tmp_path / "a" / name)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    found = from_pretrained("hf:owner/name@v1")
    assert found.conventions.mean == (0.1,)
    assert found.lineage[1].source == "hf:owner/name@v1"
    assert set(asked) == {("owner/name", "v1")}


def test_only_an_own_unchanged_folder_is_replaced(tmp_path):
    folder = tmp_path / "a"
    save_pretrained(made(), folder)
    other = made()
    other.conv1.weight.data.fill_(7)
    save_pretrained(other, folder)  # its own
    assert (from_pretrained(folder).conv1.weight == 7).all()
    readme = (folder / "README.md").read_text()
    (folder / "README.md").write_text(f"license: mit\n{readme}")
    with refuses(r"its README\.md was edited, and would be replaced; give another folder"):
        save_pretrained(made(), folder)
    (folder / "mine.txt").touch()
    with refuses(r"a holds other files, such as 'mine\.txt'"):
        save_pretrained(made(), folder)
    assert (from_pretrained(folder).conv1.weight == 7).all()
    (tmp_path / "empty").mkdir()
    save_pretrained(made(), tmp_path / "empty")
    with refuses("README.md is a file; expected a folder"):
        save_pretrained(made(), folder / "README.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk" / "real").mkdir(parents=True)
    for target in ("real", "new"):
        link = tmp_path / f"to_{target}"
        link.symlink_to(tmp_path / "disk" / target)
        for _ in range(2):
            assert save_pretrained(made(), link) == link
        assert link.is_symlink()
        assert (tmp_path / "disk" / target / "model.safetensors").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"disk", "to_real", "to_new"}
    assert {p.name for p in (tmp_path / "disk").iterdir()} == {"real", "new"}


@pytest.mark.parametrize("before", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, before):
    folder = tmp_path / "a"
    if before:
        save_pretrained(made(), folder)
    there = {path.name: path.read_bytes() for path in folder.glob("*")}
    monkeypatch.setattr(write, "keel_version", lambda: 1 / 0)  # after the weights were written
    with pytest.raises(ZeroDivisionError):
        save_pretrained(made(), folder)
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == there
    assert [path.name for path in tmp_path.iterdir()] == ["a"] * before


def test_what_is_no_backbone_is_refused(tmp_path):
    class Own(Backbone):
        def stages(self):
            return []

        def forward(self, x):
            return {"c1": x}

    with refuses("this Own does not know the name it was built by; expected a backbone of build"):
        save_pretrained(Own(), tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no folder or weight file 'resnet18'"):
        from_pretrained("resnet18")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with refuses(r"a\.pth holds no backbone of Keel; expected what save_pretrained wrote"):
        from_pretrained(tmp_path / "a.pth")
    save_pretrained(made(), tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").write_bytes(b"cut")
    with refuses("model.safetensors"):
        from_pretrained(tmp_path / "b")
    shutil.rmtree(tmp_path / "b")
