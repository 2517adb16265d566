"""Backbones as folders: the same features come back, and nobody's files are replaced."""

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from backbones import Backbone, Conventions, build_backbone, from_pretrained, save_pretrained
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "has the format 99, this version of Keel reads 1; use the version that"),
        (
            {"backbone": None},
            "has backbone=None in its card; expected the name of a backbone",
        ),
        ({"backbone": 3}, "has backbone=3 in its card; expected the name of a backbone"),
        ({"norm": ["batch"]}, r"has norm=\['batch'\] in its card; expected the name of a norm"),
        (
            {"in_channels": True},
            "has in_channels=True in its card; expected an integer of",
        ),
        ({"out_features": "c2"}, "has out_features='c2' in its card; expected names of features"),
        ({"output_stride": 7}, "has output_stride=7 in its card; expected 8, 16 or 32"),
        ({"deformable": 3}, "has deformable=3 in its card; expected names of stages"),
        ({"deformable_version": "2"}, "has deformable_version='2' in its card; expected 1 or 2"),
        ({"std": [0.0]}, r"has std=\[0.0\] in its card; expected finite numbers above 0"),
        ({"mean": [1e999]}, r"has mean=\[inf\] in its card; expected finite numbers, one per"),
        ({"mean": []}, r"has mean=\[\] in its card; expected finite numbers"),
        (
            {"mean": [0.1, 0.1]},
            "has mean for 2, std for 1, in_channels for 1 in its card",
        ),
        ({"epsilon": -1}, "has epsilon=-1 in its card; expected a number of at least 0"),
        ({"epsilon": float("nan")}, "has epsilon=nan in its card; expected a number of at least 0"),
        ({"stride_in_1x1": "no"}, "has stride_in_1x1='no' in its card; expected true, false or"),
        ({"lineage": [3]}, r"has lineage=\[3\] in its card; expected a list of files and runs"),
    ],
)
def test_a_card_with_other_values_is_refused(tmp_path, changes, message):
    """By the file and the field, wherever the file goes."""
    path = save_pretrained(made(), tmp_path / "a") / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["keel"])
    other = tmp_path / "b.safetensors"
    save_file(load_file(path), other, metadata={"keel": json.dumps(card | changes)})
    for read in (from_pretrained, partial(build_backbone, "tiny", norm="batch", in_channels=1)):
        with refuses(rf"b\.safetensors {message}"):
            read(other) if read is from_pretrained else read(weights=other)
    del card["backbone"]
    save_file(load_file(path), other, metadata={"keel": json.dumps(card)})
    with refuses(r"b\.safetensors has no backbone in its card; expected the name of a backbone"):
        from_pretrained(other)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    backbone = made().adopt(Conventions(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)))
    with refuses("this ResNet has mean for 3, std for 3, in_channels for 1 in its card"):
        save_pretrained(backbone, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_edited_config_is_refused(tmp_path):
    folder = save_pretrained(made(), tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    config["keel"]["mean"] = [0.9]
    (folder / "config.json").write_text(json.dumps(config))
    message = r"a.config\.json differs from what model\.safetensors states of itself in mean"
    with refuses(message):
        from_pretrained(folder)
    with refuses(message):
        build_backbone("tiny", weights=folder, norm="batch", in_channels=1)
    (folder / "config.json").write_text('{"keel"')
    with refuses(
        r"config\.json differs from what model\.safetensors states of itself in everything"
    ):
        from_pretrained(folder)
    (folder / "config.json").unlink()
    assert from_pretrained(folder).conventions.mean == (0.1,)


def test_an_epsilon_may_be_a_whole_number(tmp_path):
    backbone = made()
    backbone.adopt(replace(backbone.conventions, epsilon=0))
    assert from_pretrained(save_pretrained(backbone, tmp_path / "a")).bn1.eps == 0


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
