"""What happens around the training loop: progress, checkpoints that are whole or not there."""

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from tasks.common.files.atomic import replacing
from tasks.common.resume.checkpoints import BEST, LAST, PREVIOUS
from tasks.common.resume.stop import StopRequest, StopSignals


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the last one and renames it: one is whole at any time."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 (Lightning's signature)
    ) -> None:
        """Write ``checkpoint`` to ``path``, whole or not at all."""
        path = Path(path)
        with replacing(path) as partial:
            super().save_checkpoint(checkpoint, partial, storage_options)
            with partial.open("rb") as file:  # on the disk before it has the name: power may fail
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint with the highest ``monitor`` as best.ckpt in ``folder``.

    A resumed run takes over that of the run it goes on from; Lightning's own forgets the best score
    when the folder is another. `validated_step` is the step of the last validation, `improved`
    whether that was the best so far.
    """

    def __init__(self, folder: Path, *, monitor: str) -> None:
        super().__init__(
            folder,
            filename=Path(BEST).stem,
            monitor=monitor,
            mode="max",
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.validated_step = -1
        self.improved = False
        self._resumed: Path | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is the best, and remember when that was."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.validated_step = trainer.global_step
        before = self.best_model_score
        super().on_validation_end(trainer, pl_module)
        score = self.best_model_score
        self.improved = score is not None and (before is None or bool(score > before))

    def offer(self, trainer: Trainer, path: Path) -> None:
        """Save what was validated after training if it is the best."""
        score = trainer.callback_metrics[str(self.monitor)]
        if self.best_model_score is None or score > self.best_model_score:
            self.best_model_path, self.best_model_score = str(path), score
            trainer.save_checkpoint(path)

    def on_load_checkpoint(self, trainer: Trainer, *_: object) -> None:
        """Remember which checkpoint it is."""
        self._resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score, and copy its checkpoint into this run's folder."""
        self.current_score = state_dict["current_score"]
        if not state_dict["best_model_path"]:  # none yet
            return
        old, folder = Path(state_dict["best_model_path"]), Path(self.dirpath or "")
        if not old.is_file() and self._resumed is not None:  # the run folder was moved
            old = self._resumed.with_name(old.name)
        if not old.is_file():  # gone: the best is what comes from here on
            return
        path = folder / old.name
        if path != old:
            _copy(old, path)
        score = state_dict["best_model_score"]
        ours = {"dirpath": self.dirpath, "last_model_path": "", "best_model_path": str(path)}
        best = {"best_k_models": {str(path): score}, "kth_best_model_path": str(path)}
        super().load_state_dict({**state_dict, **ours, **best})


@rank_zero_only
def _copy(source: Path, path: Path) -> None:
    with replacing(path) as partial:
        shutil.copyfile(source, partial)


class LastCheckpoint(Checkpoint):
    """Saves the last state that a run can go on from exactly, and stops the run on a signal.

    It saves between two steps of the optimiser, never within one: after every epoch; during an
    epoch and before its validation if the last checkpoint is older than ``minutes`` (0: after every
    step); and on Ctrl-C or SIGTERM, which end the run there with `StopRequest`. On any other
    exception, and on a second Ctrl-C, the last checkpoint stays: a step that was left half done is
    not saved. `saved_step` is how many steps the checkpoint has behind it, `has_saved` whether this
    run has saved one.

    Lightning's ``save_last`` saves only after an epoch that was the best so far, and its
    ``OnExceptionCheckpoint`` saves in the middle of a step.
    """

    def __init__(self, path: Path, *, minutes: float = math.inf) -> None:
        self.path = path
        self.minutes = minutes
        self.saved_step = 0
        self.has_saved = False
        self._saved_at = 0.0
        self._stop = StopSignals()

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Start the clock, and listen to signals; Lightning has set its own handlers by now."""
        self.saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._stop.listen(confirms=trainer.is_global_zero)

    def on_train_batch_start(self, trainer: Trainer, _: object, __: object, batch_idx: int) -> None:
        """Save or stop, if this batch begins a step: all of the one before is done and logged."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._pause(trainer)

    def on_validation_start(self, trainer: Trainer, *_: object) -> None:
        """Save or stop before the validation, which may take long, fail, or swap weights.

        Before the last one save in any case: all of the training is behind it. But not after the
        last of ``max_steps``: Lightning would not go on with the validation there.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or trainer.global_step == trainer.max_steps:
            return
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        if is_last and trainer.global_step != self.saved_step:
            self._save(trainer)
        self._pause(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *_: object) -> None:
        """Save; the best checkpoint was chosen before, after the validation."""
        self._save(trainer)

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        """Remove the previous checkpoint: no run has to go on from here."""
        if trainer.is_global_zero:
            self.path.with_name(PREVIOUS).unlink(missing_ok=True)

    def _pause(self, trainer: Trainer) -> None:
        """Save if it is time to, or to stop; all processes do the same."""
        due = time.monotonic() - self._saved_at >= 60 * self.minutes
        signal = self._stop.received
        if trainer.world_size > 1:  # a signal may have reached one of them, or in another step
            mine = torch.tensor([due, signal], device=trainer.strategy.root_device)
            torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX)
            due, signal = mine.tolist()
        if (due or signal) and trainer.global_step != self.saved_step:
            self._save(trainer)
        if signal:
            raise StopRequest(signal)

    def _save(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # else a killed process loses rows of steps that are in the checkpoint
        trainer.save_checkpoint(self.path)
        self.saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self.has_saved = True
