"""Whatever fails after the training, all the rest is done, and the best checkpoint is named."""

import os
import shutil
import signal
from functools import partial
from html import unescape

import pytest
import torch

from tasks.common.audit.audit import Audit, AuditError
from tasks.common.run import run as whole
from tests.scripts.conftest import at_call, failing, read_json
from tests.training import differences

FULL = "[Errno 28] No space left on device: 'predictions.png'"
MEMORY = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
UNREADABLE = "[Errno 5] Input/output error: 'val_0001.png'"
full = failing(OSError(28, "No space left on device", "predictions.png"))
memory = failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
unreadable = failing(OSError(5, "Input/output error", "val_0001.png"))


@pytest.fixture
def run(tmp_path):
    return tmp_path / "r"


@pytest.fixture
def best(run):
    return run / "checkpoints" / "best.ckpt"


@pytest.fixture
def ended(run, segmentation, monkeypatch, capsys):
    """A run that does not end well: its exit status, and what it printed."""

    def end(*overrides, task=segmentation):
        monkeypatch.setenv("COLUMNS", "1000")  # no line is broken
        with pytest.raises(SystemExit) as stop:
            task.train(run, *overrides)
        return stop.value.code, capsys.readouterr()

    return end


@pytest.fixture
def patch(monkeypatch, segmentation):
    """Replace a method of the segmenter's training."""
    return lambda name, new: monkeypatch.setattr(segmentation.module, name, new)


def check_all_but(run, *missing):
    """Everything that a run leaves behind is there, but what could not be made."""
    files = {"metrics.csv", "metrics.json", "curves.png", "cases.csv", "predictions.png"}
    files.add("report.html")
    assert {name for name in files if not (run / name).exists()} == set(missing)
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not list(run.rglob(".*"))  # nothing half written


def test_a_test_that_fails_leaves_report_and_best_checkpoint(ended, patch, run, best):
    patch("test_step", memory)
    code, printed = ended()
    check_all_but(run, "cases.csv")
    start = "error: training has ended, and what follows failed in part (the test: "
    assert code.startswith(start + MEMORY)
    assert f"The best checkpoint is {best} (val/dice 0." in code
    command = f"python scripts/evaluate.py {best} <the folder of test's masks> <that of its images>"
    assert f"score it on test with: {command} --tolerance 2" in code
    assert "Traceback" in printed.err
    found = read_json(run / "metrics.json")
    assert (found["scores"], found["failed"]) == (None, {"the test": MEMORY})
    assert found["val"]
    assert found["best epoch"] in (1, 2)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "The best checkpoint was not scored on test, so there are no results to show." in page


@pytest.mark.slow
def test_a_file_that_vanishes_before_the_test_is_named(ended, patch, run, segmentation):
    image = min((segmentation.root / "images").glob("test_*"))
    away = image.with_name("away")
    patch("on_test_epoch_start", lambda _self: image.rename(away))
    try:
        code, printed = ended()
    finally:
        away.rename(image)
    assert image.name in code
    assert "score it on test with: python scripts/evaluate.py" in code
    assert "Traceback" not in printed.err  # the message says it all
    check_all_but(run, "cases.csv")


def test_steps_that_fail_take_no_other_along(ended, run, monkeypatch):
    moved = "audit of the best checkpoint: 1 of 12 frozen tensors moved"
    monkeypatch.setattr(Audit, "check_kept", failing(AuditError(moved)))
    monkeypatch.setattr("tasks.common.report.curves.curves_figure", full)
    for name in ("draw_predictions", "print_summary"):
        monkeypatch.setattr(f"tasks.segmentation.run.{name}", full)
    code, printed = ended()
    failed = {"the audit": moved, "curves.png": FULL, "predictions.png": FULL}
    failed["the table of scores"] = FULL
    assert f"({'; '.join(f'{what}: {why}' for what, why in failed.items())}). The best" in code
    assert "evaluate.py" not in code  # the scores are there
    assert "Scores of the best checkpoint" not in printed.out
    check_all_but(run, "curves.png", "predictions.png")
    found = read_json(run / "metrics.json")
    assert found["scores"]
    assert found["failed"] == failed


def test_a_report_that_cannot_be_written_takes_nothing_else_along(ended, run, monkeypatch):
    monkeypatch.setattr(whole, "write_json", full)
    code, printed = ended()
    assert f"(metrics.json: {FULL}). The best" in code
    assert "evaluate.py" not in code
    assert "Scores of the best checkpoint" in printed.out
    check_all_but(run, "metrics.json")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_in_the_test_ends_it_with_the_report(ended, patch, run, best, number):
    patch("test_step", lambda *_: os.kill(os.getpid(), number))
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    code, printed = ended()
    assert code == 128 + number
    name = signal.Signals(number).name
    assert f"(the test: interrupted by {name}; predictions.png: not begun)" in printed.out
    assert f"The best checkpoint is {best}" in printed.out
    check_all_but(run, "cases.csv", "predictions.png")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_not_named(ended, patch, run, best, segmentation):
    end, last = segmentation.module.on_fit_end, best.with_name("last.ckpt")
    patch("on_fit_end", lambda self: (end(self), best.unlink()))
    code, _ = ended()
    assert "the test: " in code
    assert f"There is no best.ckpt; the last checkpoint is {last}" in code
    assert f"python scripts/evaluate.py {last} " in code
    assert (run / "curves.png").is_file()
    assert read_json(run / "metrics.json")["scores"] is None


@pytest.fixture
def fail_at(monkeypatch, segmentation):
    return partial(at_call, monkeypatch, segmentation.module)


@pytest.mark.slow
def test_a_validation_after_max_steps_that_fails_leaves_the_rest(ended, fail_at, run):
    """The third step is in the middle of the second epoch: it is validated after the training."""
    fail_at("on_validation_epoch_start", 2, unreadable)
    code, _ = ended("trainer.max_steps=3", "recipe.epochs=3")
    assert f"(the last validation: {UNREADABLE})" in code
    check_all_but(run)
    assert read_json(run / "metrics.json")["best epoch"] == 1
    assert read_json(run / "metrics.json")["scores"]


def test_a_last_epoch_is_not_lost(
    ended, fail_at, run, best, segmented, segmentation, monkeypatch, capsys
):
    """All of it is saved before its validation fails; the resumed run only validates and tests."""
    fail_at("on_validation_epoch_start", 2, unreadable)
    code, printed = ended()
    assert code.startswith(f"error: {UNREADABLE} (KEEL_TRACE=1")
    assert "4 steps are saved: go on with the same command and resume=" in printed.out
    assert f"the best checkpoint so far is {best} (val/dice 0." in printed.out
    assert (run / "curves.png").is_file()
    assert f"stopped by an error (OSError: {UNREADABLE})" in unescape(
        (run / "report.html").read_text()
    )
    monkeypatch.undo()
    resumed = segmentation.train(run.with_name("b"), f"resume={best.with_name('last.ckpt')}")
    assert " s in all since the run was resumed; everything is in" in capsys.readouterr().out
    found = read_json(resumed / "metrics.json")
    assert (found["images trained on"], found["images a second"]) == (0, None)
    assert found["seconds by part"]["training steps"] == 0 < found["seconds by part"]["validation"]
    assert differences(segmented[0] / "checkpoints", resumed / "checkpoints") == []


def test_a_run_folder_that_is_gone_does_not_hide_the_error(ended, fail_at, run):
    """In the second of two epochs; test_exact_resume.py of ``common`` has what else may be gone."""
    fail_at("training_step", 3, lambda: (shutil.rmtree(run), unreadable()))
    code, printed = ended()
    assert code.startswith(f"error: {UNREADABLE} (KEEL_TRACE=1")
    saved = f"2 steps were saved, and {run / 'checkpoints' / 'last.ckpt'} is not there any more"
    assert f"an error in step 3; {saved}. The run folder {run} is gone" in printed.out
    assert not run.exists()
    assert "the best checkpoint so far is" not in printed.out


@pytest.mark.slow
def test_a_detector_says_what_to_score_it_on(ended, run, best, detection, monkeypatch):
    monkeypatch.setattr(detection.module, "test_step", memory)
    monkeypatch.setattr("tasks.detection.run.draw_predictions", full)
    code, _ = ended(task=detection)
    truth = f"{detection.root}/annotations/instances_test.json {detection.root}/images"
    line = f"python scripts/evaluate.py {best} {truth}"
    assert f"score it on test with: {line} (KEEL_TRACE=1" in code
    assert f"predictions.png: {FULL}" in code
    assert (run / "curves.png").is_file()
    assert read_json(run / "metrics.json")["val"]["ap"] >= 0
    assert best.is_file()
