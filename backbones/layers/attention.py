"""Attention at the end of a residual branch: it weighs channels, and in CBAM positions.

Names in the state dict are timm's.
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

    Args:
        channels: Of the input.

    Shape:
        - Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // _REDUCTION + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        squeezed = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        weighed: Tensor = x * self.fc2(squeezed).sigmoid()
        return weighed


class EfficientChannelAttention(nn.Module):
    """A weight per channel, from the means of its neighbours.

    Source: Wang et al., arXiv:1910.03151, section 3.2; the width of the kernel is equation 12.

    Args:
        channels: Of the input.

    Shape:
        - Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = int(abs(math.log2(channels) + 1) / 2)
        width = max(3, width if width % 2 else width + 1)
        self.conv = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        weights = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()
        weighed: Tensor = x * weights.transpose(1, 2).unsqueeze(3)
        return weighed


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        mean, most = (self.fc2(F.relu(self.fc1(p))) for p in pooled)
        weighed: Tensor = x * (mean + most).sigmoid()
        return weighed


class _SpatialAttention(nn.Module):
    def __init__(self, norm: NormFactory) -> None:
        super().__init__()
        self.conv = ConvNorm(2, 1, 7, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        weighed: Tensor = x * self.conv(pooled).sigmoid()
        return weighed


class CBAM(nn.Module):
    """A weight per channel, then one per position.

    Source: Woo et al., arXiv:1807.06521, section 3.

    Args:
        channels: Of the input.
        norm: Of the spatial attention.

    Shape:
        - Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.channel = _ChannelAttention(channels)
        self.spatial = _SpatialAttention(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh channels and positions."""
        weighed: Tensor = self.spatial(self.channel(x))
        return weighed


def _none(_channels: int, _norm: NormFactory) -> nn.Module:
    return nn.Identity()


def _se(channels: int, _norm: NormFactory) -> nn.Module:
    return SqueezeExcite(channels)


def _eca(channels: int, _norm: NormFactory) -> nn.Module:
    return EfficientChannelAttention(channels)


Attention = Callable[[int, NormFactory], nn.Module]
"""Takes a channel count C and a norm; the module it returns maps (N, C, H, W) to the same shape."""

ATTENTIONS: Final[dict[str, Attention]] = {"none": _none, "se": _se, "eca": _eca, "cbam": CBAM}
