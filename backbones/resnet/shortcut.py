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
    """Every ``stride``-th position, and zeros for the channels that are new: no parameters.

    Args:
        new_channels: How many channels are added.
        stride: Of the block.

    Shape:
        - Input: (N, C, H, W). Output: (N, C + new_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, new_channels: int, *, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut."""
        return F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class MeanPool(nn.Module):
    """The mean over 2x2; with stride 1, for a dilated stage, zeros stand beyond the edge.

    Both are timm's: ``AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)`` and
    ``AvgPool2dSame(2, 1)``.

    Args:
        stride: 1 or 2.

    Shape:
        - Input: (N, C, H, W). Output: (N, C, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.pad = (0, 1, 0, 1) if stride == 1 else (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return F.avg_pool2d(
            F.pad(x, self.pad), 2, self.stride, ceil_mode=True, count_include_pad=False
        )


class MeanProjection(NoTorchScript, nn.Sequential):
    """A mean, a 1x1 convolution and a norm, under timm's keys ``1`` and ``2``.

    Source: He et al., arXiv:1812.01187, figure 2c.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        stride: Of the mean.
        dilation: Of the block's stage; 1 with stride 1 needs no mean.
        norm: Makes the norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, dilation: int, norm: NormFactory
    ) -> None:
        pool = nn.Identity() if stride == dilation == 1 else MeanPool(stride)
        super().__init__(pool, conv(in_channels, out_channels, 1), norm(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut."""
        pool, projection, norm = self
        return conv_norm(cast("nn.Conv2d", projection), norm, pool(x))


def _projection(
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    dilation: int,  # noqa: ARG001 (the signature of every shortcut)
    norm: NormFactory,
) -> nn.Module:
    return ConvNorm(in_channels, out_channels, 1, stride=stride, norm=norm)


def _zero_pad(
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    dilation: int,  # noqa: ARG001 (the signature of every shortcut)
    norm: NormFactory,  # noqa: ARG001
) -> nn.Module:
    return ZeroPadShortcut(out_channels - in_channels, stride=stride)


_SHORTCUTS: Final[dict[str, Callable[..., nn.Module]]] = {
    "projection": _projection,
    "projection_always": _projection,
    "zero_pad": _zero_pad,
    "average": MeanProjection,
}


def shortcut(
    kind: str, in_channels: int, out_channels: int, *, stride: int, dilation: int, norm: NormFactory
) -> nn.Module:
    """Return a block's skip connection: the identity where the shape stays, unless C is asked for.

    Args:
        kind: ``projection`` (B), ``projection_always`` (C), ``zero_pad`` (A) or ``average``.
        in_channels: Of the block's input.
        out_channels: Of its output.
        stride: Of the block.
        dilation: Of the block's stage.
        norm: Makes the norm of a projection.
    """
    make = choose(_SHORTCUTS, kind, what="shortcut")
    if kind != "projection_always" and stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return make(in_channels, out_channels, stride=stride, dilation=dilation, norm=norm)
