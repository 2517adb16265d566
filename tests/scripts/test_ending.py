"""Whatever fails after the training, all the rest is done, and the best checkpoint is named."""

import json
import os
import shutil
import signal

import pytest
import torch

from tasks.common.audit.audit import Audit, AuditError
from tasks.common.run import run as whole
from tasks.detection import run as detection
from tasks.detection.module import DetectionModule
from tasks.segmentation import run as segmentation
from tasks.segmentation.module import SegmentationModule
from tests.scripts.conftest import SPLIT, det_command, in_process, seg_command
from tests.training import differences

FULL = "[Errno 28] No space left on device: 'predictions.png'"
MEMORY = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"


@pytest.fixture
def ended(seg_root, tmp_path, monkeypatch, capsys):
    """A run of a segmenter that does not end well: its exit status, and what it printed."""

    def run(*overrides):
        monkeypatch.setenv("COLUMNS", "1000")  # no line is broken
        with pytest.raises(SystemExit) as stop:
            in_process(
                "train_seg.py", seg_command(seg_root, tmp_path / "r", *SPLIT, *overrides), tmp_path
            )
        return stop.value.code, capsys.readouterr()

    return run


def full(*_args, **_options):
    raise OSError(28, "No space left on device", "predictions.png")


def memory(*_args, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def report(folder):
    return json.loads((folder / "metrics.json").read_text())


def check_all_but(folder, *missing):
    """Everything that a run leaves behind is there, but what could not be made."""
    files = {"metrics.csv", "metrics.json", "curves.png", "cases.csv", "predictions.png"}
    assert {name for name in files if not (folder / name).exists()} == set(missing)
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert not list(folder.rglob(".*"))  # nothing half written


def test_a_test_that_fails_leaves_report_and_best_checkpoint(ended, tmp_path, monkeypatch):
    monkeypatch.setattr(SegmentationModule, "test_step", memory)

    code, printed = ended()

    folder = tmp_path / "r"
    check_all_but(folder, "cases.csv")
    best = folder / "checkpoints" / "best.ckpt"
    assert code.startswith(
        f"error: training has ended, and what follows failed in part (the test: {MEMORY}"
    )
    assert f"The best checkpoint is {best} (val/dice 0." in code
    command = f"python scripts/evaluate.py {best} <the folder of test's masks> <that of its images>"
    assert f"score it on test with: {command} --tolerance 2" in code
    assert "Traceback" in printed.err
    found = report(folder)
    assert (found["scores"], found["failed"]) == (None, {"the test": MEMORY})
    assert found["val"]
    assert found["best epoch"] in (1, 2)


def test_a_file_that_vanishes_before_the_test_is_named(ended, seg_root, tmp_path, monkeypatch):
    image = min((seg_root / "images").glob("test_*"))
    away = image.with_name("away")
    monkeypatch.setattr(SegmentationModule, "on_test_epoch_start", lambda _self: image.rename(away))
    try:
        code, printed = ended()
    finally:
        away.rename(image)
    assert image.name in code
    assert "score it on test with: python scripts/evaluate.py" in code
    assert "Traceback" not in printed.err  # the message says it all
    check_all_but(tmp_path / "r", "cases.csv")


def test_steps_that_fail_take_no_other_along(ended, tmp_path, monkeypatch):
    moved = "audit of the best checkpoint: 1 of 12 frozen tensors moved"

    def moves(*_args):
        raise AuditError(moved)

    monkeypatch.setattr(Audit, "check_kept", moves)
    monkeypatch.setattr(whole, "curves_figure", full)
    monkeypatch.setattr(segmentation, "draw_predictions", full)
    monkeypatch.setattr(segmentation, "print_summary", full)

    code, printed = ended()

    failed = {"the audit": moved, "curves.png": FULL, "predictions.png": FULL}
    failed["the table of scores"] = FULL
    assert f"({'; '.join(f'{what}: {why}' for what, why in failed.items())}). The best" in code
    assert "evaluate.py" not in code  # the scores are there
    assert "Scores of the best checkpoint" not in printed.out
    check_all_but(tmp_path / "r", "curves.png", "predictions.png")
    found = report(tmp_path / "r")
    assert found["scores"]
    assert found["failed"] == failed


def test_a_report_that_cannot_be_written_takes_nothing_else_along(ended, tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "write_json", full)
    code, printed = ended()
    assert f"(metrics.json: {FULL}). The best" in code
    assert "evaluate.py" not in code
    assert "Scores of the best checkpoint" in printed.out
    check_all_but(tmp_path / "r", "metrics.json")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_test_ends_it_with_the_report(ended, tmp_path, monkeypatch, number):
    def step(*_args):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(SegmentationModule, "test_step", step)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    code, printed = ended()

    assert code == 128 + number
    name = signal.Signals(number).name
    assert f"(the test: interrupted by {name}; predictions.png: not begun)" in printed.out
    assert f"The best checkpoint is {tmp_path / 'r' / 'checkpoints' / 'best.ckpt'}" in printed.out
    check_all_but(tmp_path / "r", "cases.csv", "predictions.png")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_best_checkpoint_that_is_gone_is_not_named(ended, tmp_path, monkeypatch):
    best = tmp_path / "r" / "checkpoints" / "best.ckpt"
    end = SegmentationModule.on_fit_end
    monkeypatch.setattr(SegmentationModule, "on_fit_end", lambda self: (end(self), best.unlink()))
    code, _ = ended()
    assert "the test: " in code
    assert f"There is no best.ckpt; the last checkpoint is {best.with_name('last.ckpt')}" in code
    assert f"python scripts/evaluate.py {best.with_name('last.ckpt')} " in code
    assert (tmp_path / "r" / "curves.png").is_file()
    assert report(tmp_path / "r")["scores"] is None


def fail_at(patch, hook, number, error):
    """Let a hook of the module fail when it is called for the ``number``-th time."""
    seen, real = [], getattr(SegmentationModule, hook)

    def spy(self, *inputs):
        seen.append(None)
        if len(seen) == number:
            error()
        return real(self, *inputs)

    patch.setattr(SegmentationModule, hook, spy)


def unreadable():
    raise OSError(5, "Input/output error", "val_0001.png")


def test_a_validation_after_max_steps_that_fails_leaves_the_rest(ended, tmp_path, monkeypatch):
    """The third step is in the middle of the second epoch: it is validated after the training."""
    fail_at(monkeypatch, "on_validation_epoch_start", 2, unreadable)
    code, _ = ended("trainer.max_steps=3", "recipe.epochs=3")
    assert "(the last validation: [Errno 5] Input/output error: 'val_0001.png')" in code
    check_all_but(tmp_path / "r")
    assert report(tmp_path / "r")["best epoch"] == 1
    assert report(tmp_path / "r")["scores"]


def test_a_last_epoch_whose_validation_fails_is_not_lost(
    ended, segmented, seg_root, tmp_path, monkeypatch
):
    """All of the training is saved before; the resumed run only validates and tests."""
    with monkeypatch.context() as patch:
        fail_at(patch, "on_validation_epoch_start", 2, unreadable)
        code, printed = ended("backbone.freeze=1")
    folder = tmp_path / "r"
    last, best = folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "best.ckpt"
    assert code.startswith("error: [Errno 5] Input/output error: 'val_0001.png' (KEEL_TRACE=1")
    assert "4 steps are saved: go on with the same command and resume=" in printed.out
    assert f"the best checkpoint so far is {best} (val/dice 0." in printed.out
    assert (folder / "curves.png").is_file()
    line = seg_command(seg_root, tmp_path / "b", *SPLIT, "backbone.freeze=1", f"resume={last}")
    in_process("train_seg.py", line, tmp_path)
    assert differences(segmented[0] / "checkpoints", tmp_path / "b" / "checkpoints") == []


def test_a_run_folder_that_is_gone_does_not_hide_the_error(ended, tmp_path, monkeypatch):
    """In the second of two epochs; test_exact_resume.py of ``common`` has what else may be gone."""
    run = tmp_path / "r"

    def lost():
        shutil.rmtree(run)
        unreadable()

    fail_at(monkeypatch, "training_step", 3, lost)
    code, printed = ended()
    assert code.startswith("error: [Errno 5] Input/output error: 'val_0001.png' (KEEL_TRACE=1")
    saved = f"2 steps were saved, and {run / 'checkpoints' / 'last.ckpt'} is not there any more"
    assert f"an error in step 3; {saved}. The run folder {run} is gone" in printed.out
    assert "the best checkpoint so far is" not in printed.out


def test_a_detector_says_what_to_score_it_on(root, tmp_path, monkeypatch):
    monkeypatch.setattr(DetectionModule, "test_step", memory)
    monkeypatch.setattr(detection, "draw_predictions", full)
    folder = tmp_path / "r"
    with pytest.raises(SystemExit) as stop:
        in_process("train_det.py", det_command(root, folder), tmp_path)
    best = folder / "checkpoints" / "best.ckpt"
    line = f"python scripts/evaluate.py {best} {root}/annotations/instances_test.json {root}/images"
    assert f"score it on test with: {line} (KEEL_TRACE=1" in stop.value.code
    assert f"predictions.png: {FULL}" in stop.value.code
    assert (folder / "curves.png").is_file()
    assert report(folder)["val"]["ap"] >= 0
    assert best.is_file()
