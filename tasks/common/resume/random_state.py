"""The random number generators of a run, saved with it and put back."""

import random
from typing import Any, Final

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from tasks.common.resume.position import begin, settle

KEY: Final = "keel_random"  # under which a checkpoint holds the state of each process


def read_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's and torch's global generators, for ``weights_only``.

    Anchors, proposals and paths to drop are drawn from them; the order of the images and their
    augmentation are not (`tasks.common.data.samplers`).
    """
    kind, key, *rest = np.random.get_state()  # noqa: NPY002 (others draw from it)
    device = torch.cuda.get_rng_state() if _cuda_in_use() else None
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(key).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": device,
    }


def write_state(state: dict[str, Any]) -> None:
    """Put back what `read_state` returned; a CUDA device's only where there is one, and was one."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and _cuda_in_use():
        torch.cuda.set_rng_state(state["cuda"])


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


class ExactState(Callback):
    """Puts the generators of every process, and counters between two batches, into checkpoints."""

    def __init__(self) -> None:
        self._saved: list[dict[str, Any]] = []

    def on_save_checkpoint(
        self, trainer: Trainer, _: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save; Lightning calls this in every process, and the first one writes."""
        states: list[Any] = [read_state()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, states[0])
        checkpoint[KEY] = states
        settle(checkpoint["loops"]["fit_loop"], trainer)

    def on_load_checkpoint(self, _: Trainer, __: object, checkpoint: dict[str, Any]) -> None:
        """Keep the states for the start of the training."""
        self._saved = checkpoint[KEY]

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Put them back, after all that setting up may have drawn."""
        begin(trainer)
        if self._saved:
            write_state(self._saved[trainer.global_rank])
            self._saved = []
