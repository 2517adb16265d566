"""The scripts as a user runs them: in this process, or in one of their own."""

import os
import runpy
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tasks.detection.data.layouts.sample import write_sample
from tasks.segmentation.data.layouts.sample import write_sample as write_pictures

SCRIPTS = Path(__file__).parents[2] / "scripts"
CONFIGS = SCRIPTS.parent / "configs"


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "data"
    return write_sample(folder, images={"train": 8, "val": 5, "test": 4}, size=64)


def _command(root, run_dir, *overrides):
    """A run of a few seconds; one image at a time, so that none is padded."""
    return [
        "backbone=resnet18",
        "backbone.weights=random",
        "backbone.norm=batch",
        "backbone.init=zero_last",  # finds something within eight steps
        "data=coco",
        f"data.root={root}",
        "data.test=annotations/instances_test.json",
        "model=small",
        "model.min_size=64",
        "model.max_size=96",
        "model.score_threshold=0",
        "recipe=scratch",
        "recipe.epochs=1",
        "recipe.batch_size=1",
        "recipe.warmup=0",
        "trainer.accelerator=cpu",
        "trainer.precision=32",
        "trainer.threads=1",
        f"run_dir={run_dir}",
        *overrides,
    ]


def _in_process(script, arguments, folder):
    """Run a script as ``__main__`` in ``folder``; what it changes in the process is restored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", [str(SCRIPTS / script), *map(str, arguments)])
        patch.setenv("KEEL_RUN_DIR", "")
        patch.setenv("PL_GLOBAL_SEED", "")
        patch.setenv("PL_SEED_WORKERS", "")
        patch.delenv("LOCAL_RANK", raising=False)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        return runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def _started(script, arguments, folder, **options):
    line = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "KEEL_RUN_DIR")}
    return subprocess.Popen(
        line,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def _finished(script, arguments, folder):
    """The output of a script that has to succeed."""
    with _started(script, arguments, folder) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="session")
def trained(root, tmp_path_factory):
    """A finished run of one epoch, and what it printed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setenv("COLUMNS", "300")  # no line is broken
        _in_process("train_det.py", _command(root, folder / "first"), folder)
    return folder / "first", printed.getvalue()


@pytest.fixture(scope="session")
def command():
    return _command


@pytest.fixture(scope="session")
def in_process():
    return _in_process


def _stop_at(patch, module, *, batch):
    """Send SIGTERM in the middle of a batch, counted from 0 over the whole run."""
    step, seen = module.training_step, []

    def spy(self, *inputs):
        seen.append(None)
        if len(seen) == batch + 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, *inputs)

    patch.setattr(module, "training_step", spy)


@pytest.fixture(scope="session")
def stop_at():
    return _stop_at


@pytest.fixture(scope="session")
def started():
    return _started


@pytest.fixture(scope="session")
def finished():
    return _finished


@pytest.fixture(scope="session")
def seg_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentation") / "data"
    return write_pictures(folder, images={"train": 4, "val": 2, "test": 2}, size=64)


def _seg_command(root, run_dir, *overrides):
    """A run of a second or two on small pictures."""
    return [
        "backbone=resnet18",
        "backbone.weights=random",
        "model.norm=group",
        "model.channels=[16,16,16,16,16]",
        "data=folder",
        f"data.root={root}",
        "input.patch=[64,64]",
        "input.patches=4",
        "recipe.epochs=2",
        "recipe.batch_size=2",
        "recipe.warmup=0",
        "trainer.accelerator=cpu",
        "trainer.precision=32",
        "trainer.threads=1",
        f"run_dir={run_dir}",
        *overrides,
    ]


@pytest.fixture(scope="session")
def seg_command():
    return _seg_command
