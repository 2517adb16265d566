"""Residual blocks that activate after the sum.

Attribute names (``conv1``, ``bn1``, ``se``, ``downsample`` ...) are those of torchvision and timm,
so that their checkpoints load unchanged. ``bn*`` keeps its name whatever the norm is.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from backbones.layers.attention import Attention
from backbones.layers.conv import conv, conv_norm
from backbones.layers.hooks import watched
from backbones.layers.norm import NormFactory
from backbones.layers.torchscript import NoTorchScript
from backbones.resnet.shortcut import shortcut


@dataclass(frozen=True, kw_only=True)
class BlockParts:
    """What every block of one stage has in common.

    Attributes:
        norm: Makes the norms.
        conv3x3: Makes the 3x3 convolutions; see `backbones.layers.deform.CONVS`.
        attention: Makes what ends the residual branch.
        gate: Makes what joins branch and shortcut; see `backbones.layers.gate.GATES`.
        shortcut: Kind of the shortcut; see `backbones.resnet.shortcut.shortcut`.
        groups: Groups of the 3x3 convolution of a bottleneck.
        width_per_group: Channels per group, where the nominal width is 64.
        scale: Into how many parts a Res2Net block splits its channels.
        stride_in_1x1: Whether a bottleneck strides in its first convolution.
    """

    norm: NormFactory
    conv3x3: Callable[..., nn.Conv2d]
    attention: Attention
    gate: Callable[[int], nn.Module]
    shortcut: str = "projection"
    groups: int = 1
    width_per_group: int = 64
    scale: int = 1
    stride_in_1x1: bool = False


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """Where one block stands.

    Attributes:
        in_channels: Of its input.
        channels: Its nominal width; its output has ``expansion`` times as many channels.
        stride: Of the block.
        dilations: Of its first 3x3 convolution, and of its stage.
        drop_path: How likely its residual is dropped in training.
    """

    in_channels: int
    channels: int
    stride: int = 1
    dilations: tuple[int, int] = (1, 1)
    drop_path: float = 0.0


class ResidualBlock(NoTorchScript, nn.Module):
    """``relu(shortcut(x) + branch(x))``, the sum by way of a gate.

    Args:
        shape: Where it stands.
        parts: What it is made of.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, expansion * channels, ceil(H / stride), ceil(W / stride)).
    """

    expansion: ClassVar[int]

    @property
    @abstractmethod
    def last(self) -> tuple[nn.Conv2d, nn.Module]:
        """The last convolution of the residual branch, and the norm after it."""

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Return the residual branch up to its last norm."""

    def branch(self, x: Tensor) -> Tensor:
        """Return the whole residual branch."""
        out: Tensor = self.drop_path(self.se(self.residual(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        total = self.gate(self.branch, x, self.downsample(x))
        return F.relu(total, inplace=not watched(self.gate))

    def _end(self, shape: BlockShape, parts: BlockParts) -> None:
        """Build what follows the convolutions, last, as torchvision orders its parameters."""
        out_channels = shape.channels * self.expansion
        self.se = parts.attention(out_channels, parts.norm)
        self.drop_path = drop_path(shape.drop_path)
        self.downsample = shortcut(
            parts.shortcut,
            shape.in_channels,
            out_channels,
            stride=shape.stride,
            dilation=shape.dilations[1],
            norm=parts.norm,
        )
        self.gate = parts.gate(shape.in_channels)


def drop_path(probability: float) -> nn.Module:
    """Return stochastic depth: in training it drops the residual of whole samples.

    Source: Huang et al., arXiv:1603.09382.

    Args:
        probability: From 0 to below 1.
    """
    return StochasticDepth(probability, mode="row") if probability else nn.Identity()


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions.

    Source: He et al., arXiv:1512.03385, figure 5 left. Shapes and arguments as `ResidualBlock`.

    Raises:
        ValueError: If ``parts`` asks for groups or a width, which this block does not have.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        refuse_groups(type(self).__name__, parts)
        channels, (first, rest) = shape.channels, shape.dilations
        self.conv1 = parts.conv3x3(shape.in_channels, channels, stride=shape.stride, dilation=first)
        self.bn1 = parts.norm(channels)
        self.conv2 = parts.conv3x3(channels, channels, dilation=rest)
        self.bn2 = parts.norm(channels)
        self._end(shape, parts)

    @property
    def last(self) -> tuple[nn.Conv2d, nn.Module]:
        """The last convolution and its norm."""
        return self.conv2, self.bn2

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        return conv_norm(self.conv2, self.bn2, x)


class Bottleneck(ResidualBlock):
    """A 1x1, a 3x3 and a 1x1 convolution.

    The stride is in the 3x3 convolution ("v1.5", as in torchvision), unless ``parts`` puts it into
    the first 1x1 as in the paper: ImageNet checkpoints from torchvision and timm expect the
    former, those of Caffe the latter.

    Sources: He et al., arXiv:1512.03385, figure 5 right; groups: Xie et al., arXiv:1611.05431.
    Shapes and arguments as `ResidualBlock`.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        width = shape.channels * parts.width_per_group // 64 * parts.groups
        out_channels = shape.channels * self.expansion
        strides = (shape.stride, 1) if parts.stride_in_1x1 else (1, shape.stride)
        self.conv1 = conv(shape.in_channels, width, 1, stride=strides[0])
        self.bn1 = parts.norm(width)
        self.conv2 = parts.conv3x3(
            width, width, stride=strides[1], dilation=shape.dilations[0], groups=parts.groups
        )
        self.bn2 = parts.norm(width)
        self.conv3 = conv(width, out_channels, 1)
        self.bn3 = parts.norm(out_channels)
        self._end(shape, parts)

    @property
    def last(self) -> tuple[nn.Conv2d, nn.Module]:
        """The last convolution and its norm."""
        return self.conv3, self.bn3

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        x = F.relu(conv_norm(self.conv2, self.bn2, x), inplace=True)
        return conv_norm(self.conv3, self.bn3, x)


def refuse_groups(block: str, parts: BlockParts) -> None:
    """Raise for a block that has neither groups nor a width per group.

    Raises:
        ValueError: If ``parts`` has either.
    """
    if (parts.groups, parts.width_per_group) != (1, 64):
        raise ValueError(
            f"{block} takes groups=1 and width_per_group=64, got groups={parts.groups} and "
            f"width_per_group={parts.width_per_group}; use the bottleneck block for grouped or "
            "wide variants."
        )
