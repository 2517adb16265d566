"""What happens around the training loop: progress, checkpoints that are whole or not there."""

import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from tasks.common.report import print_line


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file beside it, then renames it."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 (Lightning's signature)
    ) -> None:
        """Write ``checkpoint`` to ``path``, whole or not at all."""
        partial = Path(f"{os.fspath(path)}.partial")
        super().save_checkpoint(checkpoint, partial, storage_options)
        partial.replace(path)


class SaveOnStop(Callback):
    """Saves a checkpoint when a run stops on an exception, Ctrl-C included.

    Lightning's ``OnExceptionCheckpoint`` does the same, but makes every later ``fit`` resume by
    itself.

    Args:
        path: Where to save it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        """Save, unless nothing was trained yet."""
        if trainer.global_step > 0:
            trainer.save_checkpoint(self.path)


class EpochLine(Callback):
    """Prints one line per epoch: the mean loss, the scores that were asked for, seconds.

    Args:
        scores: Names of logged metrics, such as ``val/ap``.
    """

    def __init__(self, scores: tuple[str, ...]) -> None:
        self.scores = scores
        self._started = 0.0
        self._losses: list[Tensor] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._started = time.monotonic()
        self._losses = []

    def on_train_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401 (Lightning's signature)
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Keep the loss, without waiting for the device."""
        self._losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Print the line; Lightning validates before this."""
        if not trainer.is_global_zero:
            return
        logged = trainer.callback_metrics
        parts = [f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}"]
        parts.append(f"train/loss {torch.stack(self._losses).mean().item():.3f}")
        parts += [f"{name} {logged[name].item():.3f}" for name in self.scores if name in logged]
        parts.append(f"{time.monotonic() - self._started:.0f} s")
        print_line("  ".join(parts))
