"""The residual blocks by name: a class each, and a row of `BLOCKS`.

Attribute names are those of torchvision (``conv1``, ``bn1``, ``downsample``) and timm (``se``,
``convs``; ``norm1`` where the norm comes first), so that their checkpoints load unchanged. ``bn*``
keeps its name whatever the norm is.
"""

import operator
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from backbones.errors import UserError
from backbones.layers.attention import Attention
from backbones.layers.conv import conv, conv_norm
from backbones.layers.hooks import watched
from backbones.layers.norm import NormFactory
from backbones.layers.torchscript import NoTorchScript
from backbones.resnet.shortcut import shortcut
from backbones.resnet.variants import ResNetSpec


@dataclass(frozen=True, kw_only=True)
class BlockParts:
    """What every block of one stage has in common."""

    spec: ResNetSpec
    norm: NormFactory
    conv3x3: Callable[..., nn.Conv2d]
    attention: Attention
    gate: Callable[[int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """The size of one block."""

    in_channels: int  # channels of its input
    channels: int  # its nominal width; its output has ``expansion`` times as many channels
    stride: int = 1  # stride of the block
    dilations: tuple[int, int] = (1, 1)  # of its first 3x3 convolution, of the others
    drop_path: float = 0.0  # probability that its residual is dropped in training


class Block(NoTorchScript, nn.Module):
    """A residual block: a shortcut, a residual branch, and a gate that adds them.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, expansion * channels, ceil(H / stride), ceil(W / stride)).
    """

    expansion: ClassVar[int]  # channels of the output, per nominal channel
    ends_with: ClassVar[tuple[str, ...]]  # its last convolution, and its norm if any

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Return the branch up to its last convolution and norm."""

    def branch(self, x: Tensor) -> Tensor:
        """Return the whole residual branch."""
        out: Tensor = self.drop_path(self.se(self.residual(x)))
        return out

    def _build_branch_end(self, shape: BlockShape, parts: BlockParts) -> int:
        out_channels = shape.channels * self.expansion
        self.se = parts.attention(out_channels, parts.norm)
        drop = shape.drop_path  # stochastic depth: Huang et al., arXiv:1603.09382
        self.drop_path = StochasticDepth(drop, mode="row") if drop else nn.Identity()
        return out_channels


class ResidualBlock(Block):
    """``relu(shortcut(x) + branch(x))``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        total = self.gate(self.branch, x, self.downsample(x))
        return F.relu(total, inplace=not watched(self.gate))

    def _build_end(self, shape: BlockShape, parts: BlockParts) -> None:
        """Build what follows the convolutions, last, as torchvision orders its parameters."""
        self.downsample = shortcut(
            parts.spec.shortcut,
            shape.in_channels,
            self._build_branch_end(shape, parts),
            stride=shape.stride,
            dilation=shape.dilations[1],
            norm=parts.norm,
        )
        self.gate = parts.gate(shape.in_channels)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions. Source: He et al., arXiv:1512.03385, figure 5 left."""

    expansion, ends_with = 1, ("conv2", "bn2")

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        _refuse_groups(self, parts)
        channels, (first, rest) = shape.channels, shape.dilations
        self.conv1 = parts.conv3x3(shape.in_channels, channels, stride=shape.stride, dilation=first)
        self.bn1 = parts.norm(channels)
        self.conv2 = parts.conv3x3(channels, channels, dilation=rest)
        self.bn2 = parts.norm(channels)
        self._build_end(shape, parts)

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        return conv_norm(self.conv2, self.bn2, x)


class Bottleneck(ResidualBlock):
    """A 1x1, a 3x3 and a 1x1 convolution.

    The stride is in the 3x3 convolution ("v1.5", as in torchvision and timm), unless ``parts`` puts
    it into the first 1x1, as the paper and Caffe's weights have it.

    Sources: He et al., arXiv:1512.03385, figure 5 right; groups: Xie et al., arXiv:1611.05431.
    """

    expansion, ends_with = 4, ("conv3", "bn3")

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        spec, out_channels = parts.spec, shape.channels * self.expansion
        width = shape.channels * spec.width_per_group // 64 * spec.groups
        strides = (shape.stride, 1) if spec.stride_in_1x1 else (1, shape.stride)
        self.conv1 = conv(shape.in_channels, width, 1, stride=strides[0])
        self.bn1 = parts.norm(width)
        self.conv2 = parts.conv3x3(
            width, width, stride=strides[1], dilation=shape.dilations[0], groups=spec.groups
        )
        self.bn2 = parts.norm(width)
        self.conv3 = conv(width, out_channels, 1)
        self.bn3 = parts.norm(out_channels)
        self._build_end(shape, parts)

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        x = F.relu(conv_norm(self.conv2, self.bn2, x), inplace=True)
        return conv_norm(self.conv3, self.bn3, x)


class Res2Bottleneck(ResidualBlock):
    """A bottleneck with ``scale - 1`` smaller 3x3 convolutions in place of one.

    The channels are split into ``scale`` parts. Each part but the last is convolved; in blocks that
    keep the shape, the result of the previous part is added to it first. The last part is passed
    on, averaged in blocks that change the shape.

    Source: Gao et al., arXiv:1904.01169, figure 2b.
    """

    expansion, ends_with = 4, ("conv3", "bn3")

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        spec, out_channels = parts.spec, shape.channels * self.expansion
        self.width = shape.channels * spec.width_per_group // 64 * spec.groups
        count = range(spec.scale - 1)
        self.conv1 = conv(shape.in_channels, self.width * spec.scale, 1)
        self.bn1 = parts.norm(self.width * spec.scale)
        make = partial(parts.conv3x3, stride=shape.stride, dilation=shape.dilations[0])
        self.convs = nn.ModuleList(make(self.width, self.width, groups=spec.groups) for _ in count)
        self.bns = nn.ModuleList(parts.norm(self.width) for _ in count)
        changes = shape.stride > 1 or shape.in_channels != out_channels
        self.join = _part_alone if changes else operator.add
        self.pool = nn.AvgPool2d(3, stride=shape.stride, padding=1) if changes else nn.Identity()
        self.conv3 = conv(self.width * spec.scale, out_channels, 1)
        self.bn3 = parts.norm(out_channels)
        self._build_end(shape, parts)

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        split = torch.split(x, self.width, dim=1)  # torch.fx can index it, and not unpack it
        done: list[Tensor] = []
        for k, (convolution, norm) in enumerate(zip(self.convs, self.bns, strict=True)):
            part = self.join(split[k], done[-1]) if done else split[k]
            out = conv_norm(cast("nn.Conv2d", convolution), norm, part)
            done.append(F.relu(out, inplace=True))
        x = torch.cat([*done, self.pool(split[len(self.convs)])], dim=1)
        return conv_norm(self.conv3, self.bn3, x)


def _part_alone(part: Tensor, _before: Tensor) -> Tensor:
    return part


class PreActBlock(Block):
    """``shortcut + branch(relu(norm(x)))``.

    A projection as the shortcut gets ``relu(norm(x))`` too, an identity gets ``x``.

    Source: He et al., arXiv:1603.05027, figure 1b.
    """

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        _refuse_groups(self, parts)
        if (kind := parts.spec.shortcut) != "projection":
            raise UserError(f"a pre-activation block takes projections, got {kind!r}.")
        self.norm1 = parts.norm(shape.in_channels)
        out_channels = self._build_branch_end(shape, parts)
        self.gate = parts.gate(shape.in_channels)
        changes = shape.stride > 1 or shape.in_channels != out_channels
        projection = conv(shape.in_channels, out_channels, 1, stride=shape.stride)
        self.downsample = nn.Sequential(projection) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        active = F.relu(self.norm1(x))  # not in place: without a norm this is x itself
        skip = x if self.downsample is None else self.downsample(active)
        out: Tensor = self.gate(self.branch, active, skip)
        return out


class PreActBasic(PreActBlock):
    """Two 3x3 convolutions."""

    expansion, ends_with = 1, ("conv2",)

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__(shape, parts)
        channels, (first, rest) = shape.channels, shape.dilations
        self.conv1 = parts.conv3x3(shape.in_channels, channels, stride=shape.stride, dilation=first)
        self.norm2 = parts.norm(channels)
        self.conv2 = parts.conv3x3(channels, channels, dilation=rest)

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out: Tensor = self.conv2(F.relu(conv_norm(self.conv1, self.norm2, x), inplace=True))
        return out


class PreActBottleneck(PreActBlock):
    """A 1x1, a 3x3 (with the stride) and a 1x1 convolution."""

    expansion, ends_with = 4, ("conv3",)

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__(shape, parts)
        width, dilation = shape.channels, shape.dilations[0]
        self.conv1 = conv(shape.in_channels, width, 1)
        self.norm2 = parts.norm(width)
        self.conv2 = parts.conv3x3(width, width, stride=shape.stride, dilation=dilation)
        self.norm3 = parts.norm(width)
        self.conv3 = conv(width, width * self.expansion, 1)

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.norm2, x), inplace=True)
        x = F.relu(conv_norm(self.conv2, self.norm3, x), inplace=True)
        out: Tensor = self.conv3(x)
        return out


def _refuse_groups(block: Block, parts: BlockParts) -> None:
    groups, width = parts.spec.groups, parts.spec.width_per_group
    if (groups, width) != (1, 64):
        raise UserError(
            f"{type(block).__name__} takes groups=1 and width_per_group=64, got groups={groups} "
            f"and width_per_group={width}; use the bottleneck block for grouped or wide variants."
        )


BLOCKS: Final[dict[str, type[ResidualBlock | PreActBlock]]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "res2": Res2Bottleneck,
    "preact_basic": PreActBasic,
    "preact_bottleneck": PreActBottleneck,
}
