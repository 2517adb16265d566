"""The table of backbones against what torchvision publishes."""

import runpy
from pathlib import Path

import pytest
from torchvision.models import get_model, get_model_weights

from backbones import list_backbones

SCRIPT = Path(__file__).parents[2] / "scripts" / "inspect_backbone.py"
CLASSES = 1000


@pytest.fixture(scope="module")
def describe():
    return runpy.run_path(str(SCRIPT))["describe"]


def published(name):
    """Parameters in millions and GFLOPs of the classifier's paper, less the last layer."""
    import torch

    meta = get_model_weights(name).DEFAULT.meta
    with torch.device("meta"):
        layer = get_model(name).fc.in_features * CLASSES
    return (meta["num_params"] - layer - CLASSES) / 1e6, meta["_ops"] - layer / 1e9


@pytest.mark.parametrize("name", list_backbones())
def test_parameters_and_multiply_adds_are_torchvisions(describe, name):
    parameters, gflops = published(name)
    row = describe(name)
    assert float(row[1]) == pytest.approx(parameters, abs=0.006)
    # Theirs has three decimals and ours two.
    assert float(row[2]) == pytest.approx(gflops, abs=0.006)


def test_strides_and_channels_are_those_of_the_paper(describe):
    assert describe("resnet50")[3:] == ("2 4 8 16 32", "64 256 512 1024 2048")


def listed(names, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *names])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out


def test_the_named_backbones_are_listed(monkeypatch, capsys):
    printed = listed(["resnet18", "resnet34"], monkeypatch, capsys)
    assert [line.split()[0] for line in printed.splitlines() if "resnet" in line] == [
        "resnet18",
        "resnet34",
    ]


def test_an_unknown_name_is_answered_with_the_nearest(monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"^error: unknown backbone 'resnet5O'; did you mean"):
        listed(["resnet5O"], monkeypatch, capsys)
