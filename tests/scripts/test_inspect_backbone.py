"""The command line: each command."""

from dataclasses import replace

import pytest
import torch
from torchvision.models import resnet18

from benchmarks.study import claims, freezing, page
from tests.scripts.conftest import in_process


@pytest.fixture
def call(tmp_path, capsys):
    def run(*arguments):
        in_process("inspect_backbone.py", arguments, tmp_path)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("command", [(), ("list",)])
def test_the_named_backbones_are_listed(call, command):
    printed = call(*command, "resnet18", "resnet34")
    names = [line.split()[0] for line in printed.splitlines() if "resnet" in line]
    assert names == ["resnet18", "resnet34"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("resnet5O", r"^error: unknown backbone 'resnet5O'; did you mean"),
        ("gradeints", "^error: 'gradeints' is neither .*; did you mean the command 'gradients'"),
    ],
)
def test_a_typo_is_answered_with_the_nearest(call, name, answer):
    with pytest.raises(SystemExit, match=answer):
        call(name)


def test_weights_are_reported_for_a_name(call, tmp_path):
    path = tmp_path / "theirs.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    printed = call("weights", path, "resnet18")
    assert "c5     30 of   30 tensors" in printed
    assert "\n  expects: mean (0.485, 0.456, 0.406), std (0.229, " in printed
    with pytest.raises(SystemExit, match=r"^error: the weights do not fit 'resnet34'"):
        call("weights", path, "resnet34")
    with pytest.raises(SystemExit, match=r"^error: no weight file 'imagenet'; give the path"):
        call("weights", "imagenet")


def test_the_page_is_written_and_checked(call, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "page", lambda: "fresh\n")
    path = tmp_path / "backbones.md"
    assert "is written" in call("docs", "--path", path)
    assert path.read_text() == "fresh\n"
    assert "is up to date" in call("docs", "--check", "--path", path)
    path.write_text("old\n")
    with pytest.raises(SystemExit, match=r"^error: .* is stale, first in line 1: 'old' is written"):
        call("docs", "--check", "--path", path)


def test_the_claims_are_measured_as_asked(call, tmp_path, monkeypatch):
    for option in ("--seeds", "--steps"):
        with pytest.raises(SystemExit, match=rf"^error: {option} takes a positive number, got 0"):
            call("gradients", option, "0")
    asked = {}
    monkeypatch.setattr(claims, "reproduce", lambda plan, **rest: asked.update(rest, plan=plan))
    call("gradients", "--quick", "--seed", "3", "--steps", "9", "--out", tmp_path)
    assert asked["plan"] == replace(claims.QUICK, seeds=range(3, 4), steps=9)
    assert asked["folder"] == tmp_path
    assert asked["command"].startswith("python scripts/inspect_backbone.py gradients --quick")


def test_the_help_names_every_command(call, capsys):
    with pytest.raises(SystemExit, match="0"):
        call("--help")
    printed = capsys.readouterr().out
    assert all(f"  {command}" in printed for command in ("list", "weights", "gradients", "docs"))


def test_the_arithmetic_that_freezing_leaves_is_that_of_the_named_backbone(call, monkeypatch):
    monkeypatch.setattr(freezing, "report", lambda name: f"a table of {name}")
    assert call("freezing", "resnet18") == "a table of resnet18\n"
