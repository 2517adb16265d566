"""What a run shows of its training while it trains: a line per epoch, and a bar on a terminal."""

import time
from typing import Any, Final

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor

from tasks.common.machine.machine import peak_memory
from tasks.common.machine.memory import size_text
from tasks.common.report.terminal import duration, print_line
from tasks.common.run.callbacks import BestCheckpoint

_MUCH: Final = 0.2  # of an epoch's training; below it waiting for images is not worth a word


class EpochLine(Callback):
    """Prints one line per epoch.

    It has the mean loss, the given scores (such as ``val/ap``), ``best`` if ``best`` kept the
    epoch's checkpoint, seconds with the validation, images a second of training without it, the
    share of that time that was spent waiting for images, if it is a fifth or more, and the most
    memory so far: of the GPU, or else of this process.
    """

    def __init__(self, scores: tuple[str, ...], *, best: BestCheckpoint | None = None) -> None:
        self.scores = scores
        self.best = best
        self._losses: list[Tensor] = []
        self._validated = False
        self._start(0)

    def _start(self, images: int) -> None:
        """Start the clocks of an epoch, before which ``images`` were trained on."""
        self._images = images
        self._started = self._step_ended = time.monotonic()
        self._waited = 0.0

    def state_dict(self) -> dict[str, Tensor]:
        """Return the losses of the epoch so far: the mean of a resumed one is that of all."""
        return {"losses": torch.stack(self._losses) if self._losses else torch.zeros(0)}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take over the losses; an epoch that begins forgets them."""
        self._losses = list(state_dict["losses"])

    def on_validation_end(self, *_: object) -> None:
        """Remember that this epoch has scores."""
        self._validated = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clocks; an epoch that is resumed in its middle does not start again."""
        self._start(_trained(pl_module))
        self._losses = [loss.to(pl_module.device) for loss in self._losses]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clocks."""
        self._start(_trained(pl_module))
        self._losses = []
        self._validated = False

    def on_train_batch_start(self, *_: object) -> None:
        """Count the time since the last step as waiting."""
        self._waited += time.monotonic() - self._step_ended

    def on_train_batch_end(self, trainer: Trainer, _: object, outputs: Any, *__: object) -> None:  # noqa: ANN401
        """Keep the loss, without waiting for the device."""
        # Lightning has divided it, for the sum of the accumulated gradients.
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)
        self._step_ended = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line; Lightning validates before this."""
        if not trainer.is_global_zero:
            return
        logged = trainer.callback_metrics
        parts = [f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}"]
        if self._losses:
            parts.append(f"train/loss {torch.stack(self._losses).mean().item():.3f}")
        if self._validated:
            known = [name for name in self.scores if name in logged]
            parts += [f"{name} {logged[name].item():.3f}" for name in known]
            parts += ["best"] * (self.best is not None and self.best.improved)
        parts.append(f"{time.monotonic() - self._started:.0f} s")
        images = (_trained(pl_module) - self._images) * trainer.world_size
        print_line("  ".join(parts + self._speed(images)))

    def _speed(self, images: int) -> list[str]:
        seconds = self._step_ended - self._started
        if not images or seconds <= 0:
            return []
        parts = [f"{images / seconds:.3g} images/s", _peak()]
        share = self._waited / seconds
        return [*parts, f"waited for images {share:.0%} of the time"] if share >= _MUCH else parts


class RunBar(RichProgressBar):
    """Lightning's bar of an epoch, with images a second and the time that the run still takes.

    Both are means since the start of this process's training, validations included in the second.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._since = time.monotonic(), trainer.global_step, _trained(pl_module)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what stands behind the bar."""
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)  # the run folder's version, which is empty
        started, step, images = getattr(self, "_since", (0.0, 0, 0))
        seconds, steps = time.monotonic() - started, trainer.global_step - step
        if steps:
            rate = (_trained(pl_module) - images) * trainer.world_size / seconds
            left = int(trainer.estimated_stepping_batches) - trainer.global_step
            shown |= {"images/s": f"{rate:.3g}", "left": duration(seconds / steps * left)}
        return shown


def _peak() -> str:
    used = peak_memory()
    return f"{size_text(used['GPU'])} of the GPU" if "GPU" in used else size_text(used["process"])


def _trained(module: LightningModule) -> int:
    """Return how many images a process has trained on, 0 if the module does not count them."""
    return getattr(module, "trained", 0)
