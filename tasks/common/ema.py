"""A moving average of the weights, which is what is validated and kept."""

from typing import Any, Final

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

_BITS: Final = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class MovingAverage(WeightAveraging):
    """Lightning's average of weights and running statistics, with an exponential decay.

    It begins with the weights after the first step. The ``n``-th step after that has the decay
    ``min(decay, (1 + n) / (10 + n))``, so that a short run does not keep its first weights
    (TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``).
    Validation runs on the average; a checkpoint has it as ``state_dict``, and the weights that
    training goes on from as ``current_model_state``.

    Where Lightning's falls short: a tensor that does not move keeps its very bits; the final test,
    which loads a checkpoint, is of the average. No checkpoint may be written in the middle of a
    validation, when the two are exchanged, and none of ours is.

    Args:
        decay: From 0 to below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average where the weights will be: they are moved there later."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take both over where training goes on; elsewhere the average has been loaded."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _average(self, average: Tensor, current: Tensor, count: Tensor) -> Tensor:
        if not average.is_floating_point():  # a counter
            return current
        decay = torch.clamp((1 + count) / (10 + count), max=self.decay)
        mixed = torch.lerp(average, current, (1 - decay).to(average.dtype))
        # Arithmetic gives 0 for -0, and for denormals where they are flushed: compare bits.
        bits = _BITS[average.element_size()]
        return torch.where(average.view(bits) == current.view(bits), current, mixed)
