"""The loss of a network that answers at several resolutions."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


def deep_supervision_weights(levels: int) -> tuple[float, ...]:
    """Return the weight of each level's loss, finest first, with the sum 1.

    Each is half of the one before; the coarsest of several is 0, as in nnU-Net.
    """
    if levels < 1:
        raise ValueError(f"deep supervision takes at least 1 level, got {levels}.")
    weights = [0.5**level for level in range(max(1, levels - 1))]
    return tuple(weight / sum(weights) for weight in weights) + (0.0,) * (levels > 1)


class DeepSupervision(nn.Module):
    """The weighted sum of a loss over levels of resolution, or the loss itself of one tensor.

    Labels are brought to a level's size by picking the pixel under the middle of each larger one,
    in whole numbers; sizes are those of strides 2, 4, 8 and on, rounded up.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of (N, K, H, W) or several of it, finest first; labels fit the finest."""
        if isinstance(logits, Tensor):
            return cast(Tensor, self.loss(logits, labels))
        first, *others = deep_supervision_weights(len(logits))
        total: Tensor = first * self.loss(logits[0], labels)
        for weight, level in zip(others, logits[1:], strict=True):
            if weight:
                total = total + weight * self.loss(level, resized(labels, *level.shape[-2:]))
            else:
                # Its head needs a gradient, if of 0, or DDP waits for it; infinity * 0 is NaN.
                total = total + (0 * level.float().nan_to_num()).sum()
        return total


def resized(labels: Tensor, height: int, width: int) -> Tensor:
    """Return labels at a coarser level; see `DeepSupervision`."""
    for axis, size in ((-2, height), (-1, width)):
        full, step = labels.shape[axis], 1
        while -(-full // step) > size:
            step *= 2  # until it is the stride of a level whose size was rounded up
        middles = step * torch.arange(size, device=labels.device) + step // 2
        labels = labels.index_select(axis, middles.clamp(max=full - 1))
    return labels
