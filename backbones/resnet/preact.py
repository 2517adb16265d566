"""Residual blocks that normalise and rectify first.

Names in the state dict, within a block, are those of timm's ``resnetv2``.
"""

from abc import abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.layers.conv import conv, conv_norm
from backbones.layers.torchscript import NoTorchScript
from backbones.resnet.blocks import BlockParts, BlockShape, drop_path, refuse_groups


class PreActBlock(NoTorchScript, nn.Module):
    """``shortcut + branch(relu(norm(x)))``, the sum by way of a gate.

    A shortcut that is a projection sees ``relu(norm(x))`` too, an identity sees ``x``.

    Source: He et al., arXiv:1603.05027, figure 1b.

    Args:
        shape: Where it stands.
        parts: What it is made of.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, expansion * channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: If ``parts`` asks for groups, a width, or another shortcut than a projection.
    """

    expansion: ClassVar[int]

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        refuse_groups(type(self).__name__, parts)
        if parts.shortcut != "projection":
            raise ValueError(f"a pre-activation block takes projections, got {parts.shortcut!r}.")
        out_channels = shape.channels * self.expansion
        self.norm1 = parts.norm(shape.in_channels)
        self.se = parts.attention(out_channels, parts.norm)
        self.drop_path = drop_path(shape.drop_path)
        self.gate = parts.gate(shape.in_channels)
        changes = shape.stride > 1 or shape.in_channels != out_channels
        projection = conv(shape.in_channels, out_channels, 1, stride=shape.stride)
        self.downsample = nn.Sequential(projection) if changes else None

    @property
    @abstractmethod
    def last(self) -> tuple[nn.Conv2d, None]:
        """The last convolution of the residual branch; no norm follows it."""

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Return the residual branch of the normalised and rectified input."""

    def branch(self, x: Tensor) -> Tensor:
        """Return the whole residual branch."""
        out: Tensor = self.drop_path(self.se(self.residual(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        active = F.relu(self.norm1(x))  # not in place: without a norm this is x itself
        skip = x if self.downsample is None else self.downsample(active)
        out: Tensor = self.gate(self.branch, active, skip)
        return out


class PreActBasic(PreActBlock):
    """Two 3x3 convolutions. Shapes and arguments as `PreActBlock`."""

    expansion: ClassVar[int] = 1

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__(shape, parts)
        channels, (first, rest) = shape.channels, shape.dilations
        self.conv1 = parts.conv3x3(shape.in_channels, channels, stride=shape.stride, dilation=first)
        self.norm2 = parts.norm(channels)
        self.conv2 = parts.conv3x3(channels, channels, dilation=rest)

    @property
    def last(self) -> tuple[nn.Conv2d, None]:
        """The last convolution."""
        return self.conv2, None

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out: Tensor = self.conv2(F.relu(conv_norm(self.conv1, self.norm2, x), inplace=True))
        return out


class PreActBottleneck(PreActBlock):
    """A 1x1, a 3x3 (with the stride) and a 1x1. Shapes and arguments as `PreActBlock`."""

    expansion: ClassVar[int] = 4

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__(shape, parts)
        channels = shape.channels
        self.conv1 = conv(shape.in_channels, channels, 1)
        self.norm2 = parts.norm(channels)
        self.conv2 = parts.conv3x3(
            channels, channels, stride=shape.stride, dilation=shape.dilations[0]
        )
        self.norm3 = parts.norm(channels)
        self.conv3 = conv(channels, channels * self.expansion, 1)

    @property
    def last(self) -> tuple[nn.Conv2d, None]:
        """The last convolution."""
        return self.conv3, None

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.norm2, x), inplace=True)
        x = F.relu(conv_norm(self.conv2, self.norm3, x), inplace=True)
        out: Tensor = self.conv3(x)
        return out
