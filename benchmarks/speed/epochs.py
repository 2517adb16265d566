"""A whole epoch by Keel's trainer: loading, training, validation, scores, checkpoints and logs."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import finalize

import torch
from torch import nn

from benchmarks.speed.steps import arithmetic
from tasks.common.report.clock import Clock
from tasks.common.run.config import Training
from tasks.common.run.fit import fit
from tasks.common.run.run import run_callbacks
from tasks.common.run.stopwatch import Stopwatch
from tasks.common.run.trainer import build_trainer


def scratch(owner: object) -> Path:
    """Return a folder that is deleted with its owner."""
    folder = Path(tempfile.mkdtemp(prefix="keel-"))
    finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def rate_note(network: nn.Module, images: int, *, tuned: bool) -> Callable[[float], str]:
    """Return what makes the note of a table: training images per second of the whole epoch."""
    _, text = arithmetic(network, tuned=tuned)
    return lambda seconds: f"{images / seconds:.2f} images/s, {text}"


class KeelEpoch:
    """The first epoch of a run, with the audit and everything else that a run has.

    What comes before (checking the data, building the network) and after it (test, pictures) is not
    measured. ``change`` is called with the parts of each run before it begins.
    """

    def __init__(
        self,
        training: Training,
        assemble: Callable[[Any], Any],
        overrides: Sequence[str],
        *,
        monitor: str,
        change: Callable[[Any], None] = lambda _: None,
    ) -> None:
        threads = f"trainer.threads={torch.get_num_threads()}"
        fixed = ["recipe.epochs=1", threads, "trainer.workers=0"]  # as the others load
        self.cfg = training.compose([*overrides, *fixed])
        self.assemble, self.change, self.monitor = assemble, change, monitor
        self.network: nn.Module | None = None

    def prepare(self) -> None:
        """Build a new run."""
        self.folder = scratch(self)
        self.parts = self.assemble(self.cfg)
        self.change(self.parts)
        self.network = self.parts.module.network
        _, callbacks = run_callbacks(self.parts, self.folder)
        with redirect_stdout(StringIO()):  # no bar on a terminal: the others have none
            self.trainer = build_trainer(
                self.parts.setup,
                folder=self.folder,
                monitor=self.monitor,
                shown=(self.monitor,),
                callbacks=callbacks,
                profiler=Stopwatch(Clock()),
            )

    def __call__(self) -> int:
        """Train its epoch; return how many images it trained on."""
        trainer, best, last = self.trainer
        module = self.parts.module
        with redirect_stdout(StringIO()):
            fit(trainer, module, self.parts.data, best=best, last=last, resume=None)
        self.note = rate_note(module.network, module.trained, tuned=True)
        return int(module.trained)


def check_counts(batch: int, *counts: int) -> None:
    """Raise RuntimeError if the systems trained on numbers of images that differ by a batch."""
    if max(counts) - min(counts) >= batch:
        raise RuntimeError(f"the systems trained on {counts} images; expected the same number.")
