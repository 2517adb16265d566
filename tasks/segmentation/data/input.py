"""What the network sees of an image: intensities, neighbouring slices, patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.options.decision import Decision
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import Image
from tasks.segmentation.options import InputOptions

_LARGEST_PATCH: Final = 256
_FEWEST_PATCHES: Final = 200
PERCENTILES: Final = (0.5, 99.5)  # nnU-Net's for CT


def choose_normalisation(options: InputOptions, dtypes: Sequence[str]) -> Decision:
    """Return the normalisation's name; ``auto`` decides by the types of the training images."""
    if options.normalisation != "auto":
        return Decision(value=options.normalisation, reason="as configured")
    kinds = sorted(set(dtypes))
    if kinds == ["uint8"]:
        return Decision(value="imagenet", reason="images of 8 bits")
    return Decision(value="zscore", reason=f"images of {', '.join(kinds)}")


def choose_patch(
    options: InputOptions, sizes: Sequence[tuple[int, int]], *, multiple: int, smallest: int
) -> tuple[tuple[int, int], str]:
    """Return height and width of a patch, and why; the median of ``sizes`` if none is given.

    ``multiple`` is the network's coarsest stride, ``smallest`` the side that its norms need.
    """
    if not options.patch:
        sides = (-(-round(median(s[i] for s in sizes)) // multiple) * multiple for i in (0, 1))
        largest = _LARGEST_PATCH // multiple * multiple
        height, width = (max(min(side, largest), smallest) for side in sides)
        return (height, width), f"median of the training images, at most {_LARGEST_PATCH}"
    height, width = options.patch
    if height % multiple or width % multiple:
        raise UserError(
            f"input.patch takes multiples of {multiple}, the backbone's coarsest stride, got "
            f"{list(options.patch)}."
        )
    if min(height, width) < smallest:
        raise UserError(
            f"input.patch takes sides from {smallest} with this norm, got {list(options.patch)}: "
            "the coarsest feature would be one pixel, which has no spread to normalise. Use larger "
            "patches, or model.norm=group."
        )
    return (height, width), "as configured"


def choose_patches(options: InputOptions, *, slices: int) -> int:
    """Return how many patches an epoch has; 0 takes every slice equally often."""
    return options.patches or slices * -(-_FEWEST_PATCHES // slices)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What turns stored values into numbers near 0 to 1, or with mean 0 and std 1.

    ``centre`` (C,) is subtracted and ``width`` (C,) divided by; ``clipped`` cuts off at 0 and 1.
    """

    centre: NDArray[np.float32]
    width: NDArray[np.float32]
    clipped: bool

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Return (C, ...), any slices of the image, scaled."""
        shape = (-1, *(1,) * (image.ndim - 1))
        out = (image.astype(np.float32) - self.centre.reshape(shape)) / self.width.reshape(shape)
        return out.clip(0, 1) if self.clipped else out


def scaling_of(image: Image, options: InputOptions, *, source: Path) -> Scaling:
    """Return how a case (C, D, H, W) is scaled; ``auto`` must have been resolved."""
    flat = image.reshape(len(image), -1)
    if options.normalisation == "zscore":
        std = flat.std(axis=1, dtype=np.float64)
        return Scaling(
            centre=flat.mean(axis=1, dtype=np.float64).astype(np.float32),
            width=np.where(std > 0, std, 1.0).astype(np.float32),  # a constant channel becomes 0
            clipped=False,
        )
    if options.normalisation == "percentile":
        low, high = np.percentile(flat, PERCENTILES, axis=1).astype(np.float32)
    else:
        window = options.normalisation == "window"
        ends = options.window if window else (0, _largest(image, source))
        low, high = (np.full(len(image), end, np.float32) for end in ends)
    # A channel of (nearly) one value becomes 0 there, and 0 or 1 elsewhere.
    width = np.where(high > low, high - low, np.float32(1))
    return Scaling(centre=low, width=width, clipped=True)


def _largest(image: Image, source: Path) -> float:
    """Return the largest value that the type of the numbers stands for."""
    if np.issubdtype(image.dtype, np.unsignedinteger):
        return float(np.iinfo(image.dtype.name).max)
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return 1.0
    others = "give images like those of the training, which used it"
    told = advice("use zscore, percentile or window", otherwise=others)
    raise UserError(
        f"{source} has values from {low:g} to {high:g}, but input.normalisation=imagenet expects "
        f"whole numbers from 0, or numbers from 0 to 1; {told}."
    )


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a slice is prepared: ``mean`` and ``std`` per channel of the network's input.

    ``neighbours`` slices on either side are seen as well.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    neighbours: int

    def __call__(self, image: Image, index: int, *, scaling: Scaling) -> NDArray[np.float32]:
        """Return what the network sees of the slice ``index``: itself between its neighbours.

        The image is (C, D, H, W) as stored, or any part of its rows and columns; the result (C * (2
        * neighbours + 1), H, W), all channels of the first slice, then of the next. At the ends of
        a volume the last slice stands in for missing ones.
        """
        near = np.arange(index - self.neighbours, index + self.neighbours + 1)
        near = near.clip(0, image.shape[1] - 1)
        planes = scaling(image[:, near]).swapaxes(0, 1)  # [2k+1,C,H,W]
        planes = planes.reshape(-1, *image.shape[2:])
        mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return np.ascontiguousarray((planes - mean) / std)
