"""Attention in the decoder of a U-Net, by name."""

from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from tasks.segmentation.options import REDUCTION


class ConcurrentAttention(nn.Module):
    """The sum of the map scaled by a weight per channel, and scaled by one per position.

    Source: Roy et al., arXiv:1803.02579, section 2.3 (scSE), where the reduction is 2; it is 16
    here, and names in the state dict are the same, as in segmentation_models_pytorch.

    Shape:
        - Input: (N, channels, H, W).
        - Output: the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // REDUCTION
        by_channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )
        by_position = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())
        self.attention = nn.ModuleDict({"cSE": by_channel, "sSE": by_position})

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled map."""
        scaled: Tensor = x * self.attention["cSE"](x) + x * self.attention["sSE"](x)
        return scaled


ATTENTION: Final[dict[str, Callable[[int], nn.Module]]] = {
    "none": lambda _channels: nn.Identity(),
    "scse": ConcurrentAttention,
}
"""By channels."""
