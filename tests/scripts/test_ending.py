"""Whatever fails after the training, all the rest is done, and the best checkpoint is named."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tasks.common.audit.audit import Audit, AuditError
from tasks.common.run import run as whole
from tasks.detection import run as detection
from tasks.detection.module import DetectionModule
from tasks.segmentation import run as segmentation
from tasks.segmentation.module import SegmentationModule
from tests.same_checkpoints import differences
from tests.scripts.conftest import SPLIT


@pytest.fixture
def ended(seg_root, seg_command, tmp_path, in_process, monkeypatch, capsys):
    """A run of a segmenter that does not end well: its exit status, and what it printed."""

    def run(*overrides):
        monkeypatch.setenv("COLUMNS", "1000")  # no line is broken
        command = seg_command(seg_root, tmp_path / "r", *SPLIT, *overrides)
        with pytest.raises(SystemExit) as stop:
            in_process("train_seg.py", command, tmp_path)
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


@pytest.mark.parametrize(
    ("fail", "why"),
    [
        (memory, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        (full, "[Errno 28] No space left on device: 'predictions.png'"),
    ],
)
def test_a_test_that_fails_leaves_report_and_best_checkpoint(
    ended, tmp_path, monkeypatch, fail, why
):
    monkeypatch.setattr(SegmentationModule, "test_step", fail)

    code, printed = ended()

    folder = tmp_path / "r"
    check_all_but(folder, "cases.csv")
    best = folder / "checkpoints" / "best.ckpt"
    assert code.startswith(
        f"error: training has ended, and what follows failed in part (the test: {why}"
    )
    assert f"The best checkpoint is {best} (val/dice 0." in code
    command = f"python scripts/evaluate.py {best} <the folder of test's masks> <that of its images>"
    assert f"score it on test with: {command} --tolerance 2" in code
    assert ("Traceback" in printed.err) == (fail is not full)  # whose message says it all
    found = report(folder)
    assert (found["scores"], found["failed"]) == (None, {"the test": why})
    assert found["val"]
    assert found["best epoch"] in (1, 2)


def test_a_file_that_vanishes_before_the_test_is_named(ended, seg_root, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.symlink_to(seg_root)
    hidden = {}

    def vanish(_self):
        image = sorted((seg_root / "images").glob("test_*"))[0]
        hidden[image] = image.rename(image.with_name("away"))

    monkeypatch.setattr(SegmentationModule, "on_test_epoch_start", vanish)
    try:
        code, _ = ended()
    finally:
        for image, away in hidden.items():
            away.rename(image)
    assert next(iter(hidden)).name in code
    assert "score it on test with: python scripts/evaluate.py" in code
    check_all_but(tmp_path / "r", "cases.csv")


@pytest.mark.parametrize(
    ("place", "name", "what", "missing"),
    [
        (segmentation, "draw_predictions", "predictions.png", ["predictions.png"]),
        (segmentation, "print_summary", "the table of scores", []),
        (whole, "curves_figure", "curves.png", ["curves.png"]),
        (whole, "write_json", "metrics.json", ["metrics.json"]),
    ],
)
def test_each_later_step_fails_alone(ended, tmp_path, monkeypatch, place, name, what, missing):
    monkeypatch.setattr(place, name, full)

    code, printed = ended()

    folder = tmp_path / "r"
    check_all_but(folder, *missing)
    assert f"({what}: [Errno 28] No space left on device: 'predictions.png'). The best" in code
    assert "evaluate.py" not in code  # the scores are there
    assert ("Scores of the best checkpoint" in printed.out) == (name != "print_summary")
    if what != "metrics.json":
        assert report(folder)["scores"]
        assert list(report(folder)["failed"]) == [what]


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


def test_an_audit_of_the_best_checkpoint_that_fails_does_not_take_the_scores(
    ended, tmp_path, monkeypatch
):
    def fail(*_args):
        raise AuditError("audit of the best checkpoint: 1 of 12 frozen tensors moved")

    monkeypatch.setattr(Audit, "check_kept", fail)
    code, _ = ended()
    assert "(the audit: audit of the best checkpoint: 1 of 12 frozen tensors moved)" in code
    check_all_but(tmp_path / "r")
    assert report(tmp_path / "r")["scores"]


def test_a_best_checkpoint_that_is_gone_is_not_named(ended, tmp_path, monkeypatch):
    best = tmp_path / "r" / "checkpoints" / "best.ckpt"
    test = SegmentationModule.on_fit_end
    monkeypatch.setattr(SegmentationModule, "on_fit_end", lambda self: (test(self), best.unlink()))
    code, _ = ended()
    assert "the test: " in code
    assert f"There is no best.ckpt; the last checkpoint is {best.with_name('last.ckpt')}" in code
    assert f"python scripts/evaluate.py {best.with_name('last.ckpt')} " in code
    assert (tmp_path / "r" / "curves.png").is_file()
    assert report(tmp_path / "r")["scores"] is None


def failing_validation(monkeypatch, number):
    """Let the validation of this number, from 1, fail."""
    seen, step = [], SegmentationModule.on_validation_epoch_start

    def start(self):
        seen.append(None)
        if len(seen) == number:
            raise OSError(5, "Input/output error", "val_0001.png")
        step(self)

    monkeypatch.setattr(SegmentationModule, "on_validation_epoch_start", start)


def test_a_validation_after_max_steps_that_fails_leaves_the_rest(ended, tmp_path, monkeypatch):
    """The third step is in the middle of the second epoch: it is validated after the training."""
    failing_validation(monkeypatch, 2)
    code, _ = ended("trainer.max_steps=3", "recipe.epochs=3")
    assert "(the last validation: [Errno 5] Input/output error: 'val_0001.png')" in code
    check_all_but(tmp_path / "r")
    assert report(tmp_path / "r")["best epoch"] == 1
    assert report(tmp_path / "r")["scores"]


def test_a_last_epoch_whose_validation_fails_is_not_lost(
    ended, seg_root, seg_command, tmp_path, in_process, monkeypatch
):
    """All of the training is saved before; the resumed run only validates and tests."""
    with monkeypatch.context() as patch:
        failing_validation(patch, 2)
        code, printed = ended()
    folder = tmp_path / "r"
    last, best = folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "best.ckpt"
    assert code.startswith("error: [Errno 5] Input/output error: 'val_0001.png' (KEEL_TRACE=1")
    assert "4 steps are saved: go on with the same command and resume=" in printed.out
    assert f"the best checkpoint so far is {best} (val/dice 0." in printed.out
    assert (folder / "curves.png").is_file()
    for name, more in {"whole": (), "b": (f"resume={last}",)}.items():
        in_process("train_seg.py", seg_command(seg_root, tmp_path / name, *SPLIT, *more), tmp_path)
    assert differences(tmp_path / "whole" / "checkpoints", tmp_path / "b" / "checkpoints") == []


def delete_all(folder):
    shutil.rmtree(folder)


def move(folder):
    folder.rename(folder.with_name("moved"))


def delete_checkpoints(folder):
    shutil.rmtree(folder / "checkpoints")


def delete_last(folder):
    (folder / "checkpoints" / "last.ckpt").unlink()


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (delete_all, "{last} is not there any more. The run folder {run} is gone: if it was moved"),
        (move, "{last} is not there any more. The run folder {run} is gone: if it was moved"),
        (delete_checkpoints, "{last} is not there any more. {run} is there without checkpoints"),
        (delete_last, "{last} is not there any more. From the best epoch, go on with the same"),
        (lambda _folder: None, "2 steps are saved: go on with the same command and resume={last}"),
    ],
)
def test_an_error_says_what_is_really_on_the_disk(ended, tmp_path, monkeypatch, lose, message):
    """In the second of two epochs of two steps."""
    run, seen, step = tmp_path / "r", [], SegmentationModule.training_step

    def failing_step(self, *inputs):
        seen.append(None)
        if len(seen) == 3:
            lose(run)
            raise OSError(5, "Input/output error")
        return step(self, *inputs)

    monkeypatch.setattr(SegmentationModule, "training_step", failing_step)
    code, printed = ended()
    last = run / "checkpoints" / "last.ckpt"
    assert code.startswith("error: [Errno 5] Input/output error (KEEL_TRACE=1")
    assert "an error in step 3; " in printed.out
    assert message.format(last=last, run=run) in printed.out
    best_is_there = lose is delete_last or (run / "checkpoints").exists()
    assert ("the best checkpoint so far is" in printed.out) == best_is_there


def test_a_detector_says_what_to_score_it_on(root, command, tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(DetectionModule, "test_step", memory)
    monkeypatch.setattr(detection, "draw_predictions", full)
    with pytest.raises(SystemExit) as stop:
        in_process("train_det.py", command(root, tmp_path / "r"), tmp_path)
    folder = tmp_path / "r"
    best = folder / "checkpoints" / "best.ckpt"
    line = f"python scripts/evaluate.py {best} {root}/annotations/instances_test.json {root}/images"
    assert f"score it on test with: {line} (KEEL_TRACE=1" in stop.value.code
    assert "predictions.png: [Errno 28]" in stop.value.code
    assert (folder / "curves.png").is_file()
    assert report(folder)["val"]["ap"] >= 0
    assert Path(best).is_file()
