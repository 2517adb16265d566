"""A run of either task, stopped and resumed from the command line, is the run in one go.

Where it may be stopped is tested with ``tasks.common``; here, that nothing of a task is left out.
"""

import os
import re
import signal
import time
from dataclasses import replace

import pytest

from backbones import build_backbone, save_pretrained
from tests.scripts.conftest import finished, rows, started, stop_at
from tests.training import differences

# Everything that draws or remembers: sampled proposals, dropped paths, augmentation, momentum,
# an average of the weights, and stages that begin to train in the second epoch.
OPTIONS = (
    *("recipe.epochs=2", "recipe.accumulate=2", "recipe.ema=0.9", "augment=strong"),
    *("backbone.drop_path=0.2", "backbone.freeze=5", "recipe.unfreeze={c5: 1, c4: 1}"),
    "trainer.grad_checkpointing=true",
)
OWN = {"detection": "recipe.optimizer=sgd", "segmentation": "recipe.batch_size=1"}


@pytest.fixture
def drawing(tasks):
    return {name: replace(t, usual=(*t.usual, *OPTIONS, OWN[name])) for name, t in tasks.items()}


def logged(run):
    """What was logged of each step and each validation, in order, without empty columns."""
    table = [{key: cell for key, cell in row.items() if cell} for row in rows(run / "metrics.csv")]
    return [row for row in table if not any(key.startswith("test/") for key in row)]


def check_same(whole, first, second):
    """The runs ended in the same and logged the same; return how many rows are logged twice."""
    assert differences(whole / "checkpoints", second / "checkpoints") == []
    straight, before, after = map(logged, (whole, first, second))
    assert before == straight[: len(before)]
    assert after == straight[-len(after) :]
    return len(before) + len(after) - len(straight)


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize(
    ("name", "batch", "damaged"), [("detection", 10, False), ("segmentation", 4, True)]
)
def test_a_stopped_run_goes_on(drawing, name, batch, damaged, tmp_path, monkeypatch, capsys):
    """Exactly, after SIGTERM in the second epoch, in the middle of an accumulation.

    The lineage is that of the checkpoint, whatever weights the second command names.
    """
    task, first = drawing[name], tmp_path / "a"
    whole = task.train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, task.module, batch=batch)
        with pytest.raises(SystemExit) as stop:
            task.train(first)
    assert stop.value.code == 143
    done = batch // 2 + 1
    said = capsys.readouterr().out
    assert f"interrupted after {done} steps; {done} steps are saved" in said
    assert said.rstrip().endswith(f"what there is so far: {first / 'report.html'}")
    assert "interrupted by SIGTERM" in (first / "report.html").read_text()
    last = first / "checkpoints" / "last.ckpt"
    if damaged:  # then from the end of the first epoch
        last.write_bytes(last.read_bytes()[:-100])
    monkeypatch.setenv("COLUMNS", "300")  # no line is broken
    weights = save_pretrained(build_backbone("tiny"), tmp_path / "weights")
    more = [f"backbone.weights={weights}"] * (name == "detection")
    second = task.train(tmp_path / "b", f"resume={first}", *more)
    start = last.with_name("previous.ckpt, because last.ckpt is damaged") if damaged else last
    printed = capsys.readouterr().out
    assert f"{start} " in printed
    assert re.search(
        rf"lineage +random initialisation -> {name} on data \(.*\) \(this run\)", printed
    )
    assert check_same(whole, first, second) == damaged  # a row per step


def chosen(folder):
    """What tells when a checkpoint was replaced."""
    path = folder / "checkpoints" / "last.ckpt"
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number"),
    [("detection", signal.SIGKILL)]
    + [("segmentation", number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)],
)
def test_a_process_that_is_ended_goes_on_exactly(drawing, name, number, tmp_path):
    """With workers, which get the terminal's and the scheduler's signals as well."""
    script, line = drawing[name].script, drawing[name].line
    drawing[name].train(tmp_path / "whole", "recipe.epochs=3")
    options = "recipe.epochs=3", "trainer.workers=2", "trainer.save_minutes=0"
    with started(script, line("a", *options), tmp_path, start_new_session=True) as process:
        first = tmp_path / "a"
        ahead = (row for row in process.stdout if row.startswith("epoch   1/3"))
        next(ahead)
        saved = chosen(first)
        while chosen(first) in (0, saved):
            time.sleep(0.01)
        os.killpg(process.pid, number)
        printed = process.stdout.read()
        status = process.wait(timeout=60)
    assert status == (-9 if number == signal.SIGKILL else 128 + number), printed
    assert "Traceback" not in printed
    output = finished(script, line("b", *options, "resume=a"), tmp_path)
    assert "everything is in b" in output
    assert check_same(tmp_path / "whole", first, tmp_path / "b") >= 0  # no step is missing


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step_and_go_on_exactly(drawing, tmp_path):
    """The scheduler tells one of them; the generators of both are saved."""
    script, line = "train_seg.py", drawing["segmentation"].line
    options = "trainer.devices=2", "trainer.strategy=ddp", "recipe.epochs=6"
    finished(script, line("whole", *options), tmp_path)
    with started(script, line("a", *options), tmp_path) as process:
        next(row for row in process.stdout if row.startswith("epoch   1/6"))
        process.send_signal(signal.SIGTERM)
        printed = process.stdout.read()
        status = process.wait(timeout=60)
    assert status == 143, printed
    assert printed.count("SIGTERM: stopping") == printed.count("interrupted after") == 1
    finished(script, line("b", *options, "resume=a"), tmp_path)
    assert check_same(*(tmp_path / run for run in ("whole", "a", "b"))) == 0
    with pytest.raises(AssertionError, match=r"devices is 1, the checkpoint's is 2"):
        finished(script, line("c", "recipe.epochs=6", "resume=a"), tmp_path)
