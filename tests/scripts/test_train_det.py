"""The scripts as a user runs them, from a command line to the files that are left."""

import csv
import json

import cv2
import pytest
import torch
from omegaconf import OmegaConf


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_complete_folder(trained):
    run, _ = trained
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    events = {name for name in names if name.startswith("tensorboard/events.out.tfevents")}
    expected = {"config.yaml", "environment.json", "metrics.csv", "metrics.json"}
    expected |= {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    expected |= {"audit.json", "curves.png", "predictions.png", "tensorboard/hparams.yaml"}
    assert events
    assert names - events == expected
    for picture in ("curves.png", "predictions.png"):
        assert cv2.imread(str(run / picture)).std() > 1


def test_a_run_writes_nothing_beside_its_folder(trained):
    run, _ = trained
    assert list(run.parent.iterdir()) == [run]


def test_checkpoints_load_without_running_code(trained):
    run, _ = trained
    for name in ("best", "last"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["global_step"] == 8
        assert checkpoint["keel"]["classes"] == ["disk", "square", "triangle"]


def test_the_configuration_that_is_kept_is_the_one_that_was_run(trained, root):
    run, _ = trained
    kept = OmegaConf.load(run / "config.yaml")
    assert kept.recipe.batch_size == 1
    assert kept.data.root == str(root)
    assert kept.model.features == ["c3", "c4", "c5"]


def test_every_step_and_epoch_is_logged(trained):
    run, _ = trained
    table = rows(run)
    losses = [float(row["train/loss"]) for row in table if row["train/loss"]]
    assert len(losses) == 8
    assert all(0 < loss < 100 for loss in losses)
    assert [row["epoch"] for row in table if row["val/ap"]] == ["0"]
    (tested,) = [row for row in table if row["test/ap"]]
    scores = json.loads((run / "metrics.json").read_text())["scores"]
    assert float(tested["test/ar_100"]) == pytest.approx(scores["ar_100"])


def test_the_banner_says_what_is_run_on_what(trained, root):
    run, printed = trained
    facts = " ".join(printed.replace("│", " ").split())
    for fact in (
        f"data {root}/annotations/instances_train.json",
        "classes disk, square, triangle",
        "train 8 images, ",
        "val 5 images, ",
        "backbone resnet18, 3 channels in",
        "weights random initialisation",
        "norm batch (as told)",
        "frozen nothing (no weights were loaded)",
        "images to 64 px (at most 96)",
        "recipe 1 epochs of adamw",
        "= 1 lr",
        "lr 0.000125 (0.001 per 8 images)",
        "precision 32-true (as told)",
        "device cpu (as told)",
        "cpu 1 threads",
        "denormals are zero",
        f"everything is in {run}",
    ):
        assert fact in facts
    assert "epoch   1/1  train/loss" in printed


def test_a_finished_run_is_not_resumed(trained, root, tmp_path, command, in_process):
    run, _ = trained
    resume = f"resume={run / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(SystemExit, match=r"^error: .*1 of 1 epochs behind it.*evaluate.py"):
        in_process("train_det.py", command(root, tmp_path / "r", resume), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_not_go_on_with_another_recipe(trained, root, tmp_path, command, in_process):
    last = trained[0] / "checkpoints" / "last.ckpt"
    changed = command(root, tmp_path / "r", f"resume={last}", "recipe.lr=5", "recipe.epochs=9")
    with pytest.raises(
        SystemExit, match=r"^error: cannot resume .*recipe\.lr is 5.0, the .* is 0.001"
    ):
        in_process("train_det.py", changed, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_one_step_is_scored_and_reported(root, tmp_path, command, in_process):
    """`debug=one_step` ends in the middle of the first epoch, before any validation."""
    in_process("train_det.py", command(root, tmp_path / "r", "debug=one_step"), tmp_path)
    assert [row["step"] for row in rows(tmp_path / "r") if row["val/ap"]] == ["1"]
    assert (tmp_path / "r" / "curves.png").is_file()
    report = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert report["scores"]["ap"] >= 0
    assert report["best epoch"] == 1


@pytest.mark.slow
def test_two_processes_score_every_image_once_and_leave_one_folder(
    root, tmp_path, command, finished
):
    """Of five images each process gets three; the scores are those of one process."""
    overrides = "trainer.devices=2", "trainer.strategy=ddp", "data.test=null", "recipe.epochs=4"
    output = finished("train_det.py", command(root, "runs/r", *overrides), tmp_path)
    run = tmp_path / "runs" / "r"
    assert list(run.parent.iterdir()) == [run]
    assert output.count("Keel: Faster R-CNN") == 1
    assert output.count("epoch   1/4") == 1
    assert "sync_dist" not in output
    assert len([row for row in rows(run) if row["train/loss"]]) == 4 * 4  # 8 images, 2 a step
    finished(
        "evaluate.py",
        [
            run / "checkpoints" / "best.ckpt",
            root / "annotations" / "instances_val.json",
            root / "images",
            "--output=scores.json",
            "--device=cpu",
            "--precision=32",  # as the run
        ],
        tmp_path,
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    expected = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert scores["ap"] > 0
