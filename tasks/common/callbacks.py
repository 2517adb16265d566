"""What happens around the training loop: progress, checkpoints that are whole or not there."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from tasks.common.atomic import replacing
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
        with replacing(Path(path)) as partial:
            super().save_checkpoint(checkpoint, partial, storage_options)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint; a resumed run takes over that of the run it goes on from.

    Lightning's own forgets the best score when the folder is another.

    Attributes:
        validated_step: After which step the last validation within training was.
    """

    validated_step = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is the best, and remember when that was."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.validated_step = trainer.global_step

    def offer(self, trainer: Trainer, path: Path) -> None:
        """Save what was validated after training if it is the best.

        Args:
            trainer: After `Trainer.validate`.
            path: Where to save it.
        """
        score = trainer.callback_metrics[str(self.monitor)]
        if self.best_model_score is None or score > self.best_model_score:
            self.best_model_path, self.best_model_score = str(path), score
            trainer.save_checkpoint(path)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score, and copy its checkpoint into this run's folder."""
        old, folder = Path(state_dict["best_model_path"]), Path(self.dirpath or "")
        if not old.is_file():  # moved away or none yet: the best is what comes from here on
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


class LastCheckpoint(Callback):
    """Saves a checkpoint after every epoch, and when training stops on an exception or Ctrl-C.

    Lightning's ``save_last`` saves only after an epoch that was the best so far, and its
    ``OnExceptionCheckpoint`` makes every later ``fit`` resume by itself.

    When a loss stopped being finite the weights are spoilt, and when one of several processes
    failed the others cannot join in saving: then the checkpoint of the last epoch stays.

    Args:
        path: Where to save it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Save; the best checkpoint was chosen before, after the validation."""
        trainer.save_checkpoint(self.path)

    def on_exception(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        exception: BaseException,
    ) -> None:
        """Save, unless nothing was trained yet, or the final test has put other weights in."""
        training = trainer.state.fn == TrainerFn.FITTING and trainer.global_step > 0
        told = isinstance(exception, KeyboardInterrupt | SystemExit)  # and all processes were
        whole = trainer.world_size == 1 and not isinstance(exception, FloatingPointError)
        if training and (told or whole):
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
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remember that this epoch has scores."""
        self._validated = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock; an epoch that is resumed in its middle does not start again."""
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._started = time.monotonic()
        self._losses = []
        self._validated = False

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401 (Lightning's signature)
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Keep the loss, without waiting for the device."""
        # Lightning has divided it, for the sum of the accumulated gradients.
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Print the line; Lightning validates before this."""
        if not trainer.is_global_zero:
            return
        logged = trainer.callback_metrics
        parts = [f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}"]
        if self._losses:  # none when an epoch is resumed at its end
            parts.append(f"train/loss {torch.stack(self._losses).mean().item():.3f}")
        if self._validated:
            known = [name for name in self.scores if name in logged]
            parts += [f"{name} {logged[name].item():.3f}" for name in known]
        parts.append(f"{time.monotonic() - self._started:.0f} s")
        print_line("  ".join(parts))
