"""A whole run with a feature cache, from the command line."""

import csv

import pytest


def losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


def test_segmentation_finds_its_files_again_with_the_same_losses(
    seg_root, tmp_path, seg_command, in_process, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "300")
    printed = {}
    for run, where in (("a", "none"), ("b", "disk"), ("c", "disk")):
        options = [
            "backbone.freeze=4",
            "feature_cache.views=1",
            f"feature_cache.where={where}",
            "augment=strong",
        ]
        options += ["recipe.epochs=1", "input.patches=6"]
        in_process("train_seg.py", seg_command(seg_root, tmp_path / run, *options), tmp_path)
        printed[run] = capsys.readouterr().out
    assert "1 view of 6 images, nothing kept" in printed["a"]
    assert "feature cache: 6 of 6 computed" in printed["b"]
    assert "6 of 6 there already" in printed["c"]
    assert "computed" not in printed["c"].partition("there already")[2]
    assert len(losses(tmp_path / "a")) == 3
    assert losses(tmp_path / "a") == losses(tmp_path / "b") == losses(tmp_path / "c")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["backbone.freeze=2"],
            "feature_cache.views=1 takes at least 3 frozen stages, and 2 are frozen",
        ),
        (
            ["backbone=timm/resnet18", "backbone.init=he", "backbone.freeze=4"],
            "a TimmBackbone cannot be divided",
        ),
    ],
)
def test_detection_refuses_before_anything_is_written(
    root, tmp_path, command, in_process, options, message
):
    arguments = command(root, tmp_path / "r", "feature_cache.views=1", *options)
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        in_process("train_det.py", arguments, tmp_path)
    assert list(tmp_path.iterdir()) == []
