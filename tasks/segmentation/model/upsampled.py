"""A 3x3 convolution of an upsampled map, computed before the upsampling."""

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve_upsampled(
    x: Tensor, skip: Tensor | None, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Return the 3x3 convolution of ``x``, repeated to twice the size, joined with ``skip``.

    Three pixels in a row of the repeated map are only two pixels of ``x``, so that each of the four
    pixels which one pixel becomes is a 2x2 convolution of ``x`` with sums of the weights: 4/9 of
    the products, and neither the repeated nor the joined map is made. The result is that of
    ``F.conv2d(torch.cat([F.interpolate(x, scale_factor=2), skip], 1), weight, bias, padding=1)`` up
    to rounding.

    Shape:
        - ``x``: (N, C, H, W); ``skip``: (N, S, 2 * H, 2 * W) or None; ``weight``: (O, C + S, 3, 3).
        - Output: (N, O, 2 * H, 2 * W), in ``channels_last`` memory.
    """
    channels = x.shape[1]
    kernels = _pairs(_pairs(weight[:, :channels], dim=2), dim=3)  # (right, down, O, C, 2, 2)
    # The first pixel of x gives the second one of a pair: there the pairs begin a pixel earlier.
    kernels = kernels.flip(0, 1).permute(2, 1, 0, 3, 4, 5).flatten(0, 2)
    alone = bias is not None and skip is None
    biases = bias.repeat_interleave(4) if alone else None  # type: ignore[union-attr]
    pairs = F.conv2d(x, kernels.contiguous(memory_format=torch.channels_last), biases, padding=1)
    out = F.pad(F.pixel_shuffle(pairs, 2), (-1, -1, -1, -1))
    if skip is None:
        return out
    return out + F.conv2d(skip, weight[:, channels:], bias, padding=1)


def _pairs(weight: Tensor, *, dim: int) -> Tensor:
    """Sum an axis of three, which is moved to the end, to the two of the first and second pixel.

    The first pixel's neighbour before it is another pixel of the smaller map, and the second's
    after it; the result has a new first axis for the two.
    """
    before, at, after = weight.unbind(dim)
    first, second = torch.stack([before, at + after], -1), torch.stack([before + at, after], -1)
    return torch.stack([first, second])
