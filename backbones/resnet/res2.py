"""Res2Net's block: its 3x3 convolutions see more and more of the image."""

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.layers.conv import conv, conv_norm
from backbones.resnet.blocks import BlockParts, BlockShape, ResidualBlock


class Res2Bottleneck(ResidualBlock):
    """A bottleneck whose 3x3 convolution is a ladder of ``parts.scale - 1`` smaller ones.

    The channels are split into ``scale`` parts. Each part but the last is convolved, in blocks that
    keep the shape after the result of the part before has been added to it; the last part is passed
    on, averaged where the block changes the shape.

    Source: Gao et al., arXiv:1904.01169, figure 2b; names in the state dict are those of the
    authors' code and of timm. Shapes and arguments as `ResidualBlock`.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, shape: BlockShape, parts: BlockParts) -> None:
        super().__init__()
        self.width = shape.channels * parts.width_per_group // 64 * parts.groups
        out_channels = shape.channels * self.expansion
        count = parts.scale - 1
        self.conv1 = conv(shape.in_channels, self.width * parts.scale, 1)
        self.bn1 = parts.norm(self.width * parts.scale)
        self.convs = nn.ModuleList(
            parts.conv3x3(
                self.width,
                self.width,
                stride=shape.stride,
                dilation=shape.dilations[0],
                groups=parts.groups,
            )
            for _ in range(count)
        )
        self.bns = nn.ModuleList(parts.norm(self.width) for _ in range(count))
        changes = shape.stride > 1 or shape.in_channels != out_channels
        self.join = _apart if changes else _added
        self.pool = nn.AvgPool2d(3, stride=shape.stride, padding=1) if changes else nn.Identity()
        self.conv3 = conv(self.width * parts.scale, out_channels, 1)
        self.bn3 = parts.norm(out_channels)
        self._end(shape, parts)

    @property
    def last(self) -> tuple[nn.Conv2d, nn.Module]:
        """The last convolution and its norm."""
        return self.conv3, self.bn3

    def residual(self, x: Tensor) -> Tensor:
        """Return the residual."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        split = torch.split(x, self.width, dim=1)  # torch.fx can index it, and not unpack it
        *parts, rest = [split[k] for k in range(len(self.convs) + 1)]
        done: list[Tensor] = []
        for part, convolution, norm in zip(parts, self.convs, self.bns, strict=True):
            ladder = self.join(part, done)
            out = conv_norm(cast("nn.Conv2d", convolution), norm, ladder)
            done.append(F.relu(out, inplace=True))
        x = torch.cat([*done, self.pool(rest)], dim=1)
        return conv_norm(self.conv3, self.bn3, x)


def _apart(part: Tensor, _done: list[Tensor]) -> Tensor:
    return part


def _added(part: Tensor, done: list[Tensor]) -> Tensor:
    return part + done[-1] if done else part
