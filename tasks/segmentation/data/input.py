"""What the network sees of an image: intensities, neighbouring slices, patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backbones.choose import choose
from tasks.common.options.decision import Decision
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import Image
from tasks.segmentation.options import InputOptions

_LARGEST_PATCH: Final = 256
_FEWEST_PATCHES: Final = 200
_PERCENTILES: Final = (0.5, 99.5)  # nnU-Net's for CT

Range = tuple[NDArray[np.float32], NDArray[np.float32]]
"""What becomes 0 and what becomes 1, per channel (C,)."""


def choose_normalisation(options: InputOptions, dtypes: Sequence[str]) -> Decision:
    """Return the normalisation's name; ``auto`` decides by the types of the training images."""
    if options.normalisation != "auto":
        return Decision(value=options.normalisation, reason="as told")
    kinds = sorted(set(dtypes))
    if kinds == ["uint8"]:
        return Decision(value="imagenet", reason="images of 8 bits")
    return Decision(value="zscore", reason=f"images of {', '.join(kinds)}")


def choose_patch(
    options: InputOptions, sizes: Sequence[tuple[int, int]], *, multiple: int, smallest: int
) -> tuple[tuple[int, int], str]:
    """Return height and width of a patch, and why.

    Args:
        options: An empty ``patch`` takes the median of ``sizes``.
        sizes: Height and width of the training images.
        multiple: The network's coarsest stride.
        smallest: The smallest side that its norms can normalise.
    """
    if not options.patch:
        sides = (
            -(-round(median(size[i] for size in sizes)) // multiple) * multiple for i in (0, 1)
        )
        largest = _LARGEST_PATCH // multiple * multiple
        height, width = (max(min(side, largest), smallest) for side in sides)
        return (height, width), f"median of the training images, at most {_LARGEST_PATCH}"
    height, width = options.patch
    if height % multiple or width % multiple:
        raise ValueError(
            f"input.patch takes multiples of {multiple}, the backbone's coarsest stride, got "
            f"{list(options.patch)}."
        )
    if min(height, width) < smallest:
        raise ValueError(
            f"input.patch takes sides from {smallest} with this norm, got {list(options.patch)}: "
            "the coarsest feature would be one pixel, which has no spread to normalise. Use larger "
            "patches, or model.norm=group."
        )
    return (height, width), "as told"


def choose_patches(options: InputOptions, *, slices: int) -> int:
    """Return how many patches an epoch has; 0 takes every slice equally often."""
    return options.patches or slices * -(-_FEWEST_PATCHES // slices)


def _imagenet(image: Image, options: InputOptions) -> Range:  # noqa: ARG001 (the table's signature)
    if np.issubdtype(image.dtype, np.unsignedinteger):
        top = float(np.iinfo(image.dtype.name).max)
    else:
        top = 1.0
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"has values from {low:g} to {high:g}, but input.normalisation=imagenet expects "
                "whole numbers from 0, or numbers from 0 to 1; "
                + advice(
                    "use zscore, percentile or window",
                    otherwise="give images like those of the training, which used it",
                )
            )
    return _constant(0.0, top, channels=len(image))


def _window(image: Image, options: InputOptions) -> Range:
    return _constant(options.window[0], options.window[1], channels=len(image))


def _percentile(image: Image, options: InputOptions) -> Range:  # noqa: ARG001
    low, high = np.percentile(image.reshape(len(image), -1), _PERCENTILES, axis=1)
    return low.astype(np.float32), high.astype(np.float32)


_RANGES: Final = {"imagenet": _imagenet, "percentile": _percentile, "window": _window}


def _constant(low: float, high: float, *, channels: int) -> Range:
    return np.full(channels, low, np.float32), np.full(channels, high, np.float32)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What turns stored values into numbers near 0 to 1, or with mean 0 and std 1.

    Attributes:
        centre: Per channel (C,); becomes 0.
        width: Per channel (C,); is divided by.
        clipped: Whether the result is cut off at 0 and 1.
    """

    centre: NDArray[np.float32]
    width: NDArray[np.float32]
    clipped: bool

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Return (C, ...), any slices of the image, scaled."""
        shape = (-1, *(1,) * (image.ndim - 1))
        out = (image.astype(np.float32) - self.centre.reshape(shape)) / self.width.reshape(shape)
        return out.clip(0, 1) if self.clipped else out


def scaling_of(image: Image, options: InputOptions) -> Scaling:
    """Return how a case (C, D, H, W) is scaled; ``auto`` must have been resolved."""
    if options.normalisation == "zscore":
        flat = image.reshape(len(image), -1)
        std = flat.std(axis=1, dtype=np.float64)
        return Scaling(
            centre=flat.mean(axis=1, dtype=np.float64).astype(np.float32),
            width=np.where(std > 0, std, 1.0).astype(np.float32),  # a constant channel becomes 0
            clipped=False,
        )
    low, high = choose(_RANGES, options.normalisation, what="normalisation")(image, options)
    # A channel of (nearly) one value becomes 0 there, and 0 or 1 elsewhere.
    width = np.where(high > low, high - low, np.float32(1))
    return Scaling(centre=low, width=width, clipped=True)


def slice_input(
    image: Image,
    index: int,
    *,
    scaling: Scaling,
    neighbours: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[np.float32]:
    """Return what the network sees of a slice: itself between its neighbours, normalised.

    At the ends of a volume the last slice stands in for missing ones.

    Args:
        image: (C, D, H, W) as stored, or any part of its rows and columns.
        index: Of the slice.
        scaling: Of the case.
        neighbours: How many slices on either side.
        mean: Of the weights, per channel of the result.
        std: Of the weights, per channel of the result.

    Returns:
        (C * (2 * neighbours + 1), H, W): all channels of the first slice, then of the next.
    """
    near = np.arange(index - neighbours, index + neighbours + 1).clip(0, image.shape[1] - 1)
    planes = scaling(image[:, near]).swapaxes(0, 1)  # [2k+1,C,H,W]
    planes = planes.reshape(-1, *image.shape[2:])
    shape = (-1, 1, 1)
    centre, width = (np.asarray(v, np.float32).reshape(shape) for v in (mean, std))
    out = (planes - centre) / width
    return np.ascontiguousarray(out)
