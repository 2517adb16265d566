"""The scripts as a user runs them: in this process, or in one of their own."""

import csv
import json
import os
import runpy
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from backbones.registry import BUILDERS
from tasks.detection.assemble import assemble as detection_parts
from tasks.detection.config import DETECTION
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.model.card import restore_detector
from tasks.detection.module import DetectionModule
from tasks.segmentation.assemble import assemble as segmentation_parts
from tasks.segmentation.config import SEGMENTATION
from tasks.segmentation.data.layouts.sample import write_sample as write_pictures
from tasks.segmentation.model.card import restore_segmenter
from tasks.segmentation.module import SegmentationModule
from tests.backbones.networks import tiny

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
PACKAGES = Path(__file__).with_name("packages")  # offers the backbone ``tiny`` to other processes


@pytest.fixture(scope="session", autouse=True)
def _tiny():
    """Register a backbone that is quick to train and to save."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILDERS, "tiny", tiny)
        yield


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "data"
    return write_sample(folder, images={"train": 8, "val": 5, "test": 4}, size=64)


@pytest.fixture(scope="session")
def seg_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentation") / "data"
    return write_pictures(folder, images={"train": 4, "val": 2, "test": 2}, size=64)


ALIKE = [  # of both tasks: a small backbone, and nothing that depends on the machine
    *("backbone=tiny", "backbone.weights=random", "recipe.warmup=0"),
    *("trainer.accelerator=cpu", "trainer.precision=32", "trainer.threads=1"),
]


def det_command(root, run_dir, *overrides):
    """A run of a few seconds; one image at a time, so that none is padded."""
    return [
        *ALIKE,
        *("backbone.norm=batch", "backbone.init=zero_last"),  # finds something within eight steps
        *("data=coco", f"data.root={root}", "data.test=annotations/instances_test.json"),
        *("model=small", "model.features=[c3,c4,c5]", "model.anchor_sizes=[16,32,64,128]"),
        *("model.fpn_channels=32", "model.head_width=32"),
        *("model.min_size=64", "model.max_size=96", "model.score_threshold=0"),
        *("recipe=scratch", "recipe.lr=1e-3", "recipe.epochs=1", "recipe.batch_size=1"),
        f"run_dir={run_dir}",
        *overrides,
    ]


def seg_command(root, run_dir, *overrides):
    """A run of a second or two on small pictures."""
    return [
        *ALIKE,
        *("model.norm=group", "model.channels=[16,16,16,16,16]"),
        *("data=folder", f"data.root={root}", "input.patch=[64,64]", "input.patches=4"),
        *("recipe.epochs=2", "recipe.batch_size=2"),
        f"run_dir={run_dir}",
        *overrides,
    ]


def in_process(script, arguments, folder):
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


def started(script, arguments, folder, **options):
    line = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "KEEL_RUN_DIR")}
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(PACKAGES)))
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(line, cwd=folder, env=environment, **output, **options)


def finished(script, arguments, folder):
    """The output of a script that has to succeed."""
    with started(script, arguments, folder) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_json(path):
    return json.loads(path.read_text())


def failing(error):
    """A function that raises an error, whatever it is given."""

    def fail(*_args, **_options):
        raise error

    return fail


@dataclass(frozen=True)
class Task:
    """A task as its user has it: a training script, a data set, and the command of a short run."""

    training: object
    module: type
    load: object
    assemble: object
    command: object
    root: Path
    usual: tuple = ()

    @property
    def script(self):
        return Path(self.training.script).name

    def line(self, run_dir, *overrides):
        """The command of a short run."""
        return self.command(self.root, run_dir, *self.usual, *overrides)

    def train(self, run_dir, *overrides):
        """Train in this process, beside the run's folder, and return that folder."""
        in_process(self.script, self.line(run_dir, *overrides), run_dir.parent)
        return run_dir

    def parts(self, run_dir, *overrides):
        """The parts of a run that is not begun."""
        return self.assemble(self.training.compose(self.line(run_dir, *overrides)))

    def trained(self, tmp_path_factory):
        """A finished run, and what it printed."""
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
            patch.setenv("COLUMNS", "300")  # no line is broken
            run = self.train(tmp_path_factory.mktemp("runs") / "first")
        return run, printed.getvalue()


@pytest.fixture(scope="session")
def detection(root):
    parts = DETECTION, DetectionModule, restore_detector, detection_parts
    return Task(*parts, det_command, root)


@pytest.fixture(scope="session")
def segmentation(seg_root):
    parts = SEGMENTATION, SegmentationModule, restore_segmenter, segmentation_parts
    usual = "data.val=[val_*]", "data.test=[test_*]", "backbone.freeze=1"
    return Task(*parts, seg_command, seg_root, usual)


@pytest.fixture(scope="session")
def trained(detection, tmp_path_factory):
    """A detector of one epoch, and what was printed."""
    return detection.trained(tmp_path_factory)


@pytest.fixture(scope="session")
def segmented(segmentation, tmp_path_factory):
    """A segmenter of two epochs with a frozen stem, and what was printed."""
    return segmentation.trained(tmp_path_factory)


@pytest.fixture(scope="session")
def tasks(detection, segmentation):
    return {"detection": detection, "segmentation": segmentation}


@pytest.fixture(params=["detection", "segmentation"])
def task(request, tasks):
    return tasks[request.param]


@pytest.fixture
def first(task, request):
    """A finished run of the task, and what it printed."""
    return request.getfixturevalue("trained" if task.training is DETECTION else "segmented")


@pytest.fixture
def _no_pictures(monkeypatch):
    """Leave out the pictures of a run: they take longer than its training does here."""
    for name in ("common.report.curves.curves_figure", "common.report.curves.write_figure"):
        monkeypatch.setattr(f"tasks.{name}", lambda *_, **__: None)
    for task in ("detection", "segmentation"):
        monkeypatch.setattr(f"tasks.{task}.run.draw_predictions", lambda *_: None)
    for name in ("detection.run.detector_sections", "segmentation.run.segmenter_sections"):
        monkeypatch.setattr(f"tasks.{name}", lambda *_, **__: ())


def at_call(patch, module, name, number, action):
    """Do something before a method of the training is called for the ``number``-th time."""
    seen, method = [], getattr(module, name)

    def spy(self, *inputs):
        seen.append(None)
        if len(seen) == number:
            action()
        return method(self, *inputs)

    patch.setattr(module, name, spy)


def stop_at(patch, module, *, batch):
    """Send SIGTERM in the middle of a batch, counted from 0 over the whole run."""
    at_call(patch, module, "training_step", batch + 1, lambda: signal.raise_signal(signal.SIGTERM))
