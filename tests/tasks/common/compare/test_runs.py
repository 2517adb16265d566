"""Which folders are runs, and what is read of them."""

import math
import shutil

import pytest
import torch

from tasks.common.compare.differences import differences
from tasks.common.compare.runs import curve, find_runs, parameters
from tests.backbones.errors import refuses
from tests.tasks.common.compare.small import SEGMENTATION, write_run


def test_runs_are_found_in_a_folder_below_it_and_by_name_each_once(tmp_path):
    for name in ("b/x", "b/y", "c/x", "c/.hidden/z"):
        write_run(tmp_path / name)
    runs = find_runs([tmp_path / "c" / "x", tmp_path / "b", tmp_path])
    assert [run.name for run in runs] == ["c/x", "b/x", "b/y"]
    assert {run.task for run in runs} == {"detection"}
    assert [run.name for run in find_runs([tmp_path / "b"])] == ["x", "y"]


def test_what_is_no_run_is_refused_with_what_is_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").touch()
    with refuses(r"empty is no run's folder and has none below it: .* holds 'note.txt'"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(
        FileNotFoundError, match=r"folder of a run, .*/empt' does not exist; .*empt"
    ):
        find_runs([tmp_path / "empt"])
    folder = write_run(tmp_path / "other", target="elsewhere.data")
    with refuses(r"config.yaml names no data set of a task \(data._target_\)"):
        find_runs([folder])
    (folder / "config.yaml").write_text("a: [")
    with refuses(r"config.yaml cannot be read: "):
        find_runs([folder])


def test_a_run_that_did_not_end_has_no_time_and_no_scores(tmp_path):
    folder = write_run(tmp_path / "a", target=SEGMENTATION)
    (folder / "metrics.json").write_text("{")
    (folder / "metrics.csv").unlink()
    (run,) = find_runs([folder])
    assert (run.metrics, run.task, math.isnan(run.seconds)) == ({}, "segmentation", True)
    assert curve(run, "val/ap") == ([], [])


def test_curves_are_by_epoch_from_1(tmp_path):
    (run,) = find_runs([write_run(tmp_path / "a")])
    assert curve(run, "val/ap") == ([1, 2], [0.25, 0.5])
    assert curve(run, "train/loss") == ([1, 1, 2], [3, 1, 1])
    assert curve(run, "val/none") == ([], [])


def test_parameters_are_those_of_the_best_checkpoint(tmp_path):
    (run,) = find_runs([write_run(tmp_path / "a")])
    assert parameters(run) is None
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    state["loss.weight"] = torch.ones(5)
    (run.folder / "checkpoints").mkdir()
    torch.save({"state_dict": state}, run.folder / "checkpoints" / "best.ckpt")
    assert parameters(run) == sum(p.numel() for p in network.parameters())


def test_differences_are_what_is_not_the_same_in_all_runs(tmp_path):
    write_run(tmp_path / "a", recipe={"epochs": 3}, model={"head": "v1"})
    write_run(tmp_path / "b", recipe={"epochs": 3, "lr": 0.2, "ema": None}, model={"head": "v1"})
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    (tmp_path / "c" / "environment.json").write_text(
        '{"git": {"commit": "99", "changed files": "2"}}'
    )
    assert differences(find_runs([tmp_path])) == {
        "recipe.lr": ["0.1", "0.2", "0.2"],
        "recipe.ema": ["-", "null", "null"],
        "commit": ["01234567", "01234567", "99 and changes"],
        "gpu": ["none", "none", "-"],
    }
    assert differences(find_runs([tmp_path / "a"])) == {}
