"""Stems by name: the layers before the first residual stage.

A stem is the network's ``conv1``; then come its ``bn1`` and a pool or nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from torch import Tensor, nn

from backbones.layers.conv import conv, conv_norm
from backbones.layers.hooks import ReLU, watched
from backbones.layers.norm import NormFactory


class DeepStem(nn.Sequential):
    """Three 3x3 convolutions, the first with stride 2. Names in the state dict are timm's.

    The first two have half of ``out_channels``, and a norm and a ReLU after them.

    Source: He et al., arXiv:1812.01187, figure 2b (ResNet-C), which ResNet-D keeps.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormFactory) -> None:
        half = out_channels // 2
        super().__init__(
            conv(in_channels, half, 3, stride=2),
            norm(half),
            ReLU(),
            conv(half, half, 3),
            norm(half),
            ReLU(),
            conv(half, out_channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last convolution."""
        out: Tensor = self[-1](self._ahead(x))
        return out

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Return ``norm(self(x))``; see `conv_norm`."""
        if watched(self):  # its hooks must run
            return conv_norm(cast("nn.Conv2d", self), norm, x)
        return conv_norm(cast("nn.Conv2d", self[-1]), norm, self._ahead(x))

    def _ahead(self, x: Tensor) -> Tensor:
        """Return the input of the last convolution."""
        first, norm1, relu1, second, norm2, relu2, _ = self
        x = relu1(conv_norm(cast("nn.Conv2d", first), norm1, x))
        out: Tensor = relu2(conv_norm(cast("nn.Conv2d", second), norm2, x))
        return out


Stem = nn.Conv2d | DeepStem


@dataclass(frozen=True, kw_only=True)
class StemKind:
    """A stem, and what follows it."""

    # takes the channels of the image, the stem's width and a norm
    build: Callable[[int, int, NormFactory], Stem]
    stride: int  # stride of the feature c1
    pool: bool  # whether a 3x3 max-pool with stride 2 follows c1
    first_conv: str = "weight"  # key, below ``conv1``, of what sees the image

    def make_pool(self) -> nn.Module:
        """Return what follows c1."""
        return nn.MaxPool2d(3, stride=2, padding=1) if self.pool else nn.Identity()


STEMS: Final[dict[str, StemKind]] = {
    "conv7": StemKind(build=lambda i, o, _: conv(i, o, 7, stride=2), stride=2, pool=True),
    "deep": StemKind(build=DeepStem, stride=2, pool=True, first_conv="0.weight"),
    "conv3": StemKind(build=lambda i, o, _: conv(i, o, 3), stride=1, pool=False),
}
