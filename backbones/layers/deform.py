"""Deformable convolutions, drop-in for a 3x3 convolution."""

from collections.abc import Callable
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from backbones.layers.conv import conv


class DeformConv2d(nn.Conv2d):
    """A 3x3 convolution with learned sampling positions, in version 2 with learned masks too.

    A convolution of its own, ``conv_offset``, gives every position of the output 9 offsets (dy,
    dx) in pixels of the input and, in version 2 (``modulated``), 9 masks in (0, 1). It starts at
    zero: version 1 is then the plain convolution, version 2 half of it, as the masks are 0.5 (Zhu
    et al., section 3.2). Names in the state dict are mmcv's, so that mmdetection's weights load.

    Sources: Dai et al., arXiv:1703.06211 (version 1); Zhu et al., arXiv:1811.11168 (version 2).

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        modulated: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.modulated = modulated
        values = 27 if modulated else 18
        self.conv_offset = conv(in_channels, values, 3, stride=stride, dilation=dilation, bias=True)
        self.start_undeformed()

    def start_undeformed(self) -> None:
        """Set every offset to zero."""
        nn.init.zeros_(self.conv_offset.weight)
        if self.conv_offset.bias is not None:
            nn.init.zeros_(self.conv_offset.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """Convolve with this weight and bias; torchvision's operator has no bfloat16."""
        learned = self.conv_offset(input)
        dtype = torch.promote_types(learned.dtype, torch.float32)
        offset, mask = learned[:, :18].to(dtype), learned[:, 18:].to(dtype).sigmoid()
        with torch.autocast(input.device.type, enabled=False):
            out: Tensor = deform_conv2d(
                input.to(dtype),
                offset,
                weight.to(dtype),
                None if bias is None else bias.to(dtype),
                stride=cast("tuple[int, int]", self.stride),
                padding=cast("tuple[int, int]", self.padding),
                dilation=cast("tuple[int, int]", self.dilation),
                mask=mask if self.modulated else None,
            )
        return out.to(learned.dtype)


CONVS: Final[dict[str, Callable[..., nn.Conv2d]]] = {
    "plain": partial(conv, kernel_size=3),
    "deformable_v1": partial(DeformConv2d, modulated=False),
    "deformable_v2": DeformConv2d,
}
"""The 3x3 convolutions that a block can be made of."""
