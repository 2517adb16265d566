"""Skip connections of blocks that change the shape, by name.

He et al., arXiv:1512.03385, section 4.1, call them A (zeros), B (projections where the shape
changes) and C (projections everywhere); the mean before the projection is ResNet-D's.
"""

from collections.abc import Callable
from typing import Final, cast

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.choose import choose
from backbones.layers.conv import ConvNorm, conv, conv_norm
from backbones.layers.norm import NormFactory
from backbones.layers.torchscript import NoTorchScript


class ZeroPadShortcut(nn.Module):
    """Every ``stride``-th position, and zeros for ``new_channels``: no parameters."""

    def __init__(self, new_channels: int, *, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C + new_channels, ceil(H / stride), ceil(W / stride))."""
        return F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def mean_pool(stride: int) -> nn.Module:
    """Return the mean over 2x2 with stride 2 or, for dilated stages, 1; both are timm's."""
    if stride == 1:
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
    return nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)


class MeanProjection(NoTorchScript, nn.Sequential):
    """A mean, a 1x1 convolution and a norm, under timm's keys ``1`` and ``2``.

    With stride and dilation 1 there is no mean. Source: He et al., arXiv:1812.01187, figure 2c.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, dilation: int, norm: NormFactory
    ) -> None:
        pool = nn.Identity() if stride == dilation == 1 else mean_pool(stride)
        super().__init__(pool, conv(in_channels, out_channels, 1), norm(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut."""
        pool, projection, norm = self
        return conv_norm(cast("nn.Conv2d", projection), norm, pool(x))


def _projection(
    in_channels: int, out_channels: int, stride: int, _dilation: int, norm: NormFactory
) -> nn.Module:
    return ConvNorm(in_channels, out_channels, 1, stride=stride, norm=norm)


_SHORTCUTS: Final[dict[str, Callable[[int, int, int, int, NormFactory], nn.Module]]] = {
    "projection": _projection,
    "projection_always": _projection,
    "zero_pad": lambda i, o, stride, *_: ZeroPadShortcut(o - i, stride=stride),
    "average": MeanProjection,
}


def shortcut(
    kind: str, in_channels: int, out_channels: int, *, stride: int, dilation: int, norm: NormFactory
) -> nn.Module:
    """Return a block's shortcut: the identity where it keeps the shape, but for one ``kind``."""
    make = choose(_SHORTCUTS, kind, what="shortcut")
    if kind != "projection_always" and stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return make(in_channels, out_channels, stride, dilation, norm)
