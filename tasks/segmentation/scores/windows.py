"""From the slices of a case to its labels: window by window, and averaged over flips."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backbones.errors import UserError
from tasks.segmentation.data.cases import Labels
from tasks.segmentation.options import InputOptions

Network = Callable[[Tensor], Tensor]  # maps (N, C, H, W) to logits (N, K, H, W)

FLIPS: Final = ((), (-1,), (-2,), (-2, -1))  # axes to flip: none, horizontal, vertical, both

SIGMA: Final = 1 / 8  # of the window's side; nnU-Net's (Isensee et al., arXiv:1904.08128)
LEAST_WEIGHT: Final = 1e-3  # MONAI's; a corner alone would have 1e-7, lost beside a centre's 1
TILES: Final = 4  # slices, and windows of them, that go through the network at once


@torch.no_grad()
def segment(
    network: nn.Module,
    image: Tensor,
    options: InputOptions,
    *,
    exclusive: bool,
    batch_size: int = TILES,
) -> Labels:
    """Return labels (D, H, W) of class indices, or (K, D, H, W) of 0 and 1, computed in float32."""
    parts = _logits(network, image, options, batch_size=batch_size)
    return _labels(parts, exclusive=exclusive)


@torch.no_grad()
def segment_with_probabilities(
    network: nn.Module,
    image: Tensor,
    options: InputOptions,
    *,
    exclusive: bool,
    batch_size: int = TILES,
) -> tuple[Labels, NDArray[np.float32]]:
    """Return what `segment` does, and the probabilities of the classes, (K, D, H, W)."""
    parts = list(_logits(network, image, options, batch_size=batch_size))
    shares = [
        part.float().softmax(dim=1) if exclusive else part.float().sigmoid() for part in parts
    ]
    together = torch.cat([share.cpu() for share in shares]).transpose(0, 1)
    return _labels(parts, exclusive=exclusive), together.contiguous().numpy()


def _logits(
    network: nn.Module, image: Tensor, options: InputOptions, *, batch_size: int
) -> Iterator[Tensor]:
    """Yield the logits (N, K, H, W) of some slices after the other."""
    device = next(network.parameters()).device
    height, width = options.patch
    whole = partial(
        sliding_window,
        network,
        window=(height, width),
        overlap=options.overlap,
        batch_size=batch_size,
    )
    for some in torch.split(image, batch_size):
        slices = some.to(device, memory_format=torch.channels_last)
        # In bfloat16 logits that differ by less than a percent are equal.
        with torch.autocast(device.type, enabled=False):
            yield with_flips(whole, slices, axes=FLIPS if options.flips else [()])


def _labels(parts: Iterable[Tensor], *, exclusive: bool) -> Labels:
    found = []
    for logits in parts:
        labels = logits.argmax(dim=1) if exclusive else (logits > 0).transpose(0, 1)
        found.append(labels.to(torch.uint8).cpu().numpy())
    return cast("Labels", np.concatenate(found, axis=0 if exclusive else 1))


def sliding_window(
    network: Network,
    image: Tensor,
    *,
    window: tuple[int, int],
    overlap: float = 0.5,
    batch_size: int = 4,
) -> Tensor:
    """Return the logits of images (N, C, H, W) that are predicted tile by tile.

    Neighbouring tiles share at least ``overlap`` of a window, from 0 to below 1; the last lies
    flush with the border, so that nothing is padded. Where tiles overlap their logits are averaged,
    weighted by a Gaussian around each tile's centre; sums are kept in float32 or better. A window
    is cut to the image. ``batch_size`` tiles, of any of the images, go through the network at once.

    Source: the weights of nnU-Net, the tiling and the least weight of MONAI's
    ``sliding_window_inference(mode="gaussian")``. MONAI pads a small image instead.
    """
    if image.ndim != 4:
        raise UserError(f"image has the shape {tuple(image.shape)}; expected (N, C, H, W).")
    if min(window) < 1 or not 0 <= overlap < 1 or batch_size < 1:
        raise UserError(
            f"got window={tuple(window)}, overlap={overlap!r} and batch_size={batch_size!r}; "
            "expected sides of 1 or more, an overlap from 0 to below 1, and 1 tile or more."
        )
    sides = tuple(image.shape[2:])
    tile = tuple(min(pair) for pair in zip(window, sides, strict=True))
    if tile == sides:
        return network(image)
    rows, columns = (_spans(*pair, overlap=overlap) for pair in zip(sides, tile, strict=True))
    weight, shares = _gaussian(*tile).to(image.device), torch.zeros(sides, device=image.device)
    for y, x in product(rows, columns):
        shares[y, x] += weight
    places = list(product(range(len(image)), rows, columns))
    total = image.new_zeros(0)
    for first in range(0, len(places), batch_size):
        batch = places[first : first + batch_size]
        logits = network(torch.stack([image[n, :, y, x] for n, y, x in batch]))
        if first == 0:
            kept = torch.promote_types(logits.dtype, torch.float32)
            total = logits.new_zeros(len(image), logits.shape[1], *sides, dtype=kept)
        for (n, y, x), one in zip(batch, logits, strict=True):
            total[n, :, y, x] += one * (weight / shares[y, x])
    return total.to(logits.dtype)


def with_flips(network: Network, image: Tensor, *, axes: Sequence[Sequence[int]] = FLIPS) -> Tensor:
    """Return the mean of the logits over flipped copies of an image, each flipped back.

    Logits and not probabilities are averaged, as in nnU-Net, in float32 or better. Each entry of
    ``axes`` is a copy, flipped along -2 (rows), -1 (columns), both or, if empty, none.
    """
    if not axes or any(axis not in (-2, -1) for flip in axes for axis in flip):
        raise UserError(
            f"axes is {axes!r}; expected at least one entry, each with none, one or both of -2 "
            "(rows) and -1 (columns); [[]] flips nothing."
        )
    outputs = (network(image.flip(tuple(flip))).flip(tuple(flip)) for flip in axes)
    first = next(outputs)
    total = first.to(torch.promote_types(first.dtype, torch.float32))
    for logits in outputs:
        total = total + logits
    return (total / len(axes)).to(first.dtype)


def _spans(side: int, tile: int, *, overlap: float) -> list[slice]:
    step = max(1, int(tile * (1 - overlap)))
    count = 1 + math.ceil((side - tile) / step)
    starts = [min(k * step, side - tile) for k in range(count)]
    return [slice(start, start + tile) for start in starts]


def _gaussian(height: int, width: int) -> Tensor:
    rows, columns = (
        torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (SIGMA * n)) ** 2)
        for n in (height, width)
    )
    return torch.outer(rows, columns).clamp(min=LEAST_WEIGHT)
