"""The moving average of the weights, which is validated and saved."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn


class MovingAverage(WeightAveraging):
    """Lightning's average of weights and running statistics, with an exponential decay.

    It begins with the weights after the first step. The ``n``-th step after that has the decay
    ``min(decay, (1 + n) / (10 + n))``, so that a short run does not keep its first weights
    (TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``). Validation uses the average. A
    checkpoint holds it as ``state_dict``, and the weights for resuming as ``current_model_state``.

    Unlike Lightning's, it copies frozen tensors bit by bit, is on the device of the weights, and is
    what the final test uses. No checkpoint may be written during a validation, when average and
    weights are exchanged.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._moving: set[int] = set()  # addresses of the tensors that are averaged

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average on the device that the weights are moved to later."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load weights and average to resume; otherwise the average has been loaded as weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:  # noqa: ANN401
        """Average what changes in a step."""
        self._moving = {tensor.data_ptr() for tensor in _moving(pl_module)}
        super().on_train_batch_end(trainer, pl_module, *args)

    def _average(self, averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
        n = int(count)
        decay = min(self.decay, (1 + n) / (10 + n))
        pairs = list(zip(averages, currents, strict=True))
        moves = [c.is_floating_point() and c.data_ptr() in self._moving for _, c in pairs]
        moving = [pair for pair, moved in zip(pairs, moves, strict=True) if moved]
        still = [pair for pair, moved in zip(pairs, moves, strict=True) if not moved]
        if moving:
            torch._foreach_lerp_([a for a, _ in moving], [c for _, c in moving], 1 - decay)
        for average, current in still:  # arithmetic would give 0 for -0, and flush denormals
            average.copy_(current)


def _moving(module: nn.Module) -> Iterator[Tensor]:
    """Yield the trainable parameters and the running statistics that are updated."""
    yield from (p for p in module.parameters() if p.requires_grad)
    for inner in module.modules():
        if inner.training and isinstance(inner, nn.modules.batchnorm._NormBase):
            yield from inner.buffers(recurse=False)
