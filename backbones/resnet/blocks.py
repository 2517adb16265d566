"""Residual blocks.

Attribute names (``conv1``, ``bn1``, ``downsample`` ...) are those of torchvision and timm, so
that their checkpoints load unchanged. ``bn*`` keeps its name whatever the norm is.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.layers.conv import ConvNorm, conv, conv_norm
from backbones.layers.norm import NormFactory


@dataclass(frozen=True, kw_only=True)
class BlockParts:
    """What every block of one network has in common."""

    norm: NormFactory
    groups: int = 1
    width_per_group: int = 64


def shortcut(
    in_channels: int, out_channels: int, *, stride: int, norm: NormFactory
) -> ConvNorm | None:
    """Return the projection for a skip connection, or None where the identity fits."""
    if stride == 1 and in_channels == out_channels:
        return None
    return ConvNorm(in_channels, out_channels, 1, stride=stride, norm=norm)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection.

    Source: He et al., arXiv:1512.03385, figure 5 left.

    Args:
        in_channels: Channels of the input.
        channels: Channels of both convolutions, and of the output.
        parts: Layers shared by the whole network. ``groups`` and ``width_per_group`` do not
            apply to this block and must be left at their defaults.
        stride: Stride of the first convolution and of the projection.
        dilation: Dilation of both convolutions.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: If ``parts`` asks for groups or a width.
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        parts: BlockParts,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        if (parts.groups, parts.width_per_group) != (1, 64):
            raise ValueError(
                "BasicBlock takes groups=1 and width_per_group=64, got "
                f"groups={parts.groups} and width_per_group={parts.width_per_group}; "
                "use the bottleneck block for grouped or wide variants."
            )
        self.conv1 = conv(in_channels, channels, 3, stride=stride, dilation=dilation)
        self.bn1 = parts.norm(channels)
        self.conv2 = conv(channels, channels, 3, dilation=dilation)
        self.bn2 = parts.norm(channels)
        self.downsample = shortcut(in_channels, channels, stride=stride, norm=parts.norm)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that ends the residual branch."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        skip: Tensor = x if self.downsample is None else self.downsample(x)
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        x = conv_norm(self.conv2, self.bn2, x)
        return F.relu(x + skip, inplace=True)


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution, and a skip connection.

    The stride is in the 3x3 convolution ("v1.5", as in torchvision), not in the first 1x1 as
    in the paper: ImageNet checkpoints from torchvision and timm expect it there.

    Sources: He et al., arXiv:1512.03385, figure 5 right; groups: Xie et al., arXiv:1611.05431.

    Args:
        in_channels: Channels of the input.
        channels: Nominal width; the output has ``4 * channels`` channels.
        parts: Layers shared by the whole network.
        stride: Stride of the 3x3 convolution and of the projection.
        dilation: Dilation of the 3x3 convolution.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, 4 * channels, ceil(H / stride), ceil(W / stride)).
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        parts: BlockParts,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        width = channels * parts.width_per_group // 64 * parts.groups
        out_channels = channels * self.expansion
        self.conv1 = conv(in_channels, width, 1)
        self.bn1 = parts.norm(width)
        self.conv2 = conv(width, width, 3, stride=stride, dilation=dilation, groups=parts.groups)
        self.bn2 = parts.norm(width)
        self.conv3 = conv(width, out_channels, 1)
        self.bn3 = parts.norm(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride=stride, norm=parts.norm)

    @property
    def last_norm(self) -> nn.Module:
        """The norm that ends the residual branch."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        skip: Tensor = x if self.downsample is None else self.downsample(x)
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        x = F.relu(conv_norm(self.conv2, self.bn2, x), inplace=True)
        x = conv_norm(self.conv3, self.bn3, x)
        return F.relu(x + skip, inplace=True)
