"""Attention at the end of a residual branch: it scales channels, and in CBAM positions.

Every module maps (N, C, H, W) to the same shape. Names in the state dict are timm's.
"""

import math
from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.layers.conv import ConvNorm
from backbones.layers.norm import NormFactory

_REDUCTION: Final = 16


class SqueezeExcite(nn.Module):
    """A weight per channel, from the means of all channels.

    Source: Hu et al., arXiv:1709.01507, section 3, with the reduction 16 of table 10; as in timm
    the squeezed width is a multiple of 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // _REDUCTION + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels."""
        squeezed = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        scaled: Tensor = x * self.fc2(squeezed).sigmoid()
        return scaled


class EfficientChannelAttention(nn.Module):
    """A weight per channel, from the means of its neighbours.

    Source: Wang et al., arXiv:1910.03151, section 3.2; the width of the kernel is equation 12.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = int(abs(math.log2(channels) + 1) / 2)
        width = max(3, width if width % 2 else width + 1)
        self.conv = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels."""
        weights = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()
        scaled: Tensor = x * weights.transpose(1, 2).unsqueeze(3)
        return scaled


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        mean, most = (self.fc2(F.relu(self.fc1(p))) for p in pooled)
        scaled: Tensor = x * (mean + most).sigmoid()
        return scaled


class _SpatialAttention(nn.Module):
    def __init__(self, norm: NormFactory) -> None:
        super().__init__()
        self.conv = ConvNorm(2, 1, 7, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        scaled: Tensor = x * self.conv(pooled).sigmoid()
        return scaled


class CBAM(nn.Module):
    """A weight per channel, then one per position. Source: Woo et al., arXiv:1807.06521."""

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.channel = _ChannelAttention(channels)
        self.spatial = _SpatialAttention(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Scale channels and positions."""
        scaled: Tensor = self.spatial(self.channel(x))
        return scaled


Attention = Callable[[int, NormFactory], nn.Module]
"""Takes a channel count C and a norm; the module it returns maps (N, C, H, W) to the same shape."""

ATTENTIONS: Final[dict[str, Attention]] = {
    "none": lambda _channels, _norm: nn.Identity(),
    "se": lambda channels, _norm: SqueezeExcite(channels),
    "eca": lambda channels, _norm: EfficientChannelAttention(channels),
    "cbam": CBAM,
}
