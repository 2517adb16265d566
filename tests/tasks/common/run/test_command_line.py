"""Typos answered before anything heavy is imported."""

import argparse
import sys

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf

from tasks.common.run.command_line import (
    check_overrides,
    count,
    exit_on_error,
    with_text_tables,
)


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A small tree of configurations: two backbones, two data sets, one without a root."""
    store = ConfigStore.instance()  # the project's own groups may be in it, of the same names
    others = {name: node for name, node in store.repo.items() if name != "backbone"}
    monkeypatch.setattr(store, "repo", others)
    files = {
        "main.yaml": "defaults: [{backbone: resnet50}, {data: sample}, _self_]\nseed: 0\n",
        "backbone/resnet18.yaml": "name: resnet18\nfreeze: 0\n",
        "backbone/resnet50.yaml": "name: resnet50\nfreeze: 0\n",
        "data/sample.yaml": "size: 128\n",
        "data/coco.yaml": "root: ???\ntrain: a.json\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["backbone=resnet18", "seed=3", "backbone.freeze=2"],
        ["data=coco", "data.root=/x"],
        ["--cfg", "job"],
        ["+new=1", "~seed"],
        *([*show, "data=coco"] for show in (["--help"], ["-h"], ["--hydra-help"], ["--version"])),
        *(["data=coco", *show] for show in (["--cfg", "job"], ["--cfg=job"], ["-c", "job"])),
        *(["data=coco", *show] for show in (["--info"], ["--info=all"], ["-i", "plugins"])),
    ],
)
def test_a_good_command_passes(configs, arguments):
    check_overrides(configs, "main", arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backbone=resnet51"], r"no backbone=resnet51; did you mean 'resnet50'\? Known: resnet18"),
        (["backbone=zzz"], r"no backbone=zzz\. Known: resnet18, resnet50\.$"),
        (["backbone.freze=1"], r"'backbone.freze'.*; did you mean 'backbone.freeze'\?$"),
        (["bakbone=resnet18"], r"'bakbone'.*; did you mean 'backbone'\?$"),
        (["expriment=x"], r"unknown option 'expriment'; did you mean 'experiment'\?$"),
        (["sede=1"], r"'sede'.*; did you mean 'seed'\?$"),
        # The keys are those of the group that was chosen.
        (["data=coco", "data.trian=b", "data.root=/x"], r"did you mean 'data.train'\?$"),
        (["data=cocoo", "--help"], r"no data=cocoo; did you mean 'coco'"),
        (["data=coco", "--config-name=main"], r"^data.root is not given"),
        (["data=coco"], r"^data.root is not given; add data.root=... to the command\.$"),
        (["seed=/a=b.pth"], r"^'seed=/a=b.pth' cannot be read: .* quotes: 'seed=\"/a=b.pth\"'\.$"),
    ],
)
def test_a_typo_is_answered_with_what_fits(configs, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_overrides(configs, "main", arguments)


def test_a_value_of_the_wrong_type_is_refused_by_the_schema(configs):
    from dataclasses import dataclass

    @dataclass
    class Recipe:
        lr: float = 0.1

    ConfigStore.instance().store(group="tested_recipe", name="typed", node=Recipe)
    arguments = ["+tested_recipe=typed", "tested_recipe.lr=abc"]
    with pytest.raises(ValueError, match=r"tested_recipe.lr=abc: Value 'abc' .* Float\.$"):
        check_overrides(configs, "main", arguments)


def test_a_sweep_is_left_to_hydra(configs):
    check_overrides(configs, "main", ["-m", "backbone=resnet51,resnet18"])


def test_the_result_is_handed_on():
    assert exit_on_error(lambda: 0.5) == 0.5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("freeze takes 0 to 5"), "error: freeze takes 0 to 5"),
        (FileNotFoundError("no file 'x'"), "error: no file 'x'"),
        (ConnectionError("cannot download"), "error: cannot download"),
        (FloatingPointError("not finite"), "error: not finite"),
        (InstantiationException("without a cause"), "error: without a cause"),
    ],
)
def test_an_error_that_a_user_can_mend_ends_with_its_message(monkeypatch, error, said):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def fail():
        raise error

    with pytest.raises(SystemExit) as stop:
        exit_on_error(fail)
    assert stop.value.code == said  # a text is printed on stderr, and the exit code is 1


def test_an_error_within_instantiate_is_told_without_hydras_wrapping(monkeypatch):
    from hydra.utils import instantiate

    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    target = OmegaConf.create({"_target_": "backbones.build_backbone", "name": "resnet51"})
    with pytest.raises(SystemExit, match=r"^error: unknown backbone 'resnet51'; did you mean"):
        exit_on_error(lambda: instantiate(target))


def test_the_trace_can_be_had(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(HydraException):
        exit_on_error(lambda: (_ for _ in ()).throw(InstantiationException("x")))


def test_an_error_that_is_ours_keeps_its_trace(monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(ZeroDivisionError):
        exit_on_error(lambda: 1 / 0)


def test_answering_a_typo_imports_neither_torch_nor_lightning(configs):
    import subprocess

    code = (
        "import sys; from pathlib import Path;"
        "from tasks.common.run.command_line import check_overrides;"
        f"check_overrides(Path({str(configs)!r}), 'main', ['seed=1']);"
        "print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_count_is_a_whole_number_from_1():
    assert count("300") == 300
    for text in ("0", "-1", "1.5", "many", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"at least 1, got '{text}'"):
            count(text)


@pytest.mark.parametrize(
    "value",
    [
        "{'#ff0000': cell, '#000000': background}",
        '{"#ff0000": cell, "#000000": background}',
        "{0: background, '1 x': cell}",
    ],
)
def test_tables_with_quoted_keys_reach_hydra_as_text(value):
    """Hydra's own parser is the judge; without this it refuses them."""
    parser = OverridesParser.create()
    with pytest.raises(HydraException):
        parser.parse_override(f"data.classes={value}")

    (told,) = with_text_tables([f"data.classes={value}"])

    assert parser.parse_override(told).value() == value


@pytest.mark.parametrize(
    "argument",
    ["seed=1", "a={b: 'c'}", "a='{b: c}'", "a=[{b: 1}]", "--cfg", 'a={b: "c: d"}', "a={}"],
)
def test_other_arguments_stay_as_they_are(argument):
    assert with_text_tables([argument]) == [argument]
