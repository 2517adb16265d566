"""Image files as the 8 bits that a detector sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.images.flat import read_flat
from tasks.common.images.orientation import check_exif, oriented
from tasks.common.options.limits import is_finite
from tasks.common.report.advice import advice

Ends = tuple[float, float]  # the smallest and the largest number of an image


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files become 8 bits, in training and after it; those of 8 bits stay as they are."""

    # apply turns images upright, where the boxes lie; ignore uses the stored pixels; refuse stops
    exif: str = "refuse"
    range: tuple[float, ...] = ()  # which others become 0 and 255, linearly; empty refuses them
    clipped: bool = False  # whether numbers outside of it are cut off; else their file is refused

    def __post_init__(self) -> None:
        check_exif(self.exif)
        object.__setattr__(self, "range", checked_range(self.range))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Self:
        """Return what a checkpoint says; before it did, EXIF was ignored and 16 bits cut to 8."""
        if values is None:
            return cls(exif="ignore", range=(0.0, 65535.0))
        return cls(**{**values, "range": tuple(values["range"])})


def checked_range(given: Any) -> tuple[float, ...]:  # noqa: ANN401 - a user's option
    """Return the two ends of ``data.range``, the lower one first; nothing for none."""
    ends = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else given
    if ends is None or ends == []:
        return ()
    numbers = isinstance(ends, list) and len(ends) == 2 and all(map(is_finite, ends))
    if not numbers or not ends[0] < ends[1]:
        option = advice("data.range", otherwise="--range", python="range_")
        raise UserError(
            f"{option} takes the lowest and the highest number, such as [0, 4095], got {ends!r}."
        )
    return float(ends[0]), float(ends[1])


def read_image(
    path: Path, *, in_channels: int = 3, reading: Reading | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (H, W, 3) in RGB or (H, W) in gray; see `read_flat`."""
    return open_image(path, in_channels=in_channels, reading=reading or Reading())[0]


def open_image(path: Path, *, in_channels: int, reading: Reading) -> tuple[NDArray[np.uint8], int]:
    """Return what `read_image` does, and the orientation of the file, 1 to 8."""
    pixels, orientation = stored_image(path, in_channels=in_channels)
    return eight_bits(pixels, orientation, reading=reading, path=path), orientation


def eight_bits(
    pixels: NDArray[Any], orientation: int, *, reading: Reading, path: Path
) -> NDArray[np.uint8]:
    """Return pixels in any numbers as a detector sees them; ``path`` names them in messages."""
    (pixels,) = oriented([pixels], orientation, exif=reading.exif, path=path)
    if pixels.dtype == np.uint8:
        return pixels
    ends = extremes(pixels)
    if fault := depth_fault(str(pixels.dtype), ends, reading):
        raise UserError(f"{path} {fault}{range_advice([ends])}.")
    low, high = reading.range
    scaled = (pixels - np.float64(low)) * (255 / (high - low))
    whole: NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return whole


def stored_image(path: Path, *, in_channels: int) -> tuple[NDArray[Any], int]:
    """Return the gray (H, W) or RGB (H, W, 3) of a file in its own numbers, and its orientation."""
    check_channels(in_channels)
    found = read_flat(path, channels=in_channels)
    if len(found.pages) != 1:
        raise UserError(
            f"{path} has {len(found.pages)} pages; expected the one that the boxes lie on. Save it "
            "alone."
        )
    return found.pages[0], found.orientation


def extremes(pixels: NDArray[Any]) -> Ends:
    """Return the smallest and the largest number; NaN if one is."""
    return float(pixels.min()), float(pixels.max())


def depth_fault(dtype: str, ends: Ends, reading: Reading) -> str:
    """Return why an image of other numbers than 8 bits cannot become 8 bits, or an empty string."""
    if not np.isfinite(ends).all():
        return "has numbers that are NaN or infinite"
    text = f"has numbers of type {dtype}, {ends[0]:g} to {ends[1]:g}"
    if not reading.range:
        return text + advice(
            "", otherwise=", but the detector was trained on 8 bits; give images like its own"
        )
    low, high = reading.range
    if reading.clipped or low <= ends[0] <= ends[1] <= high:
        return ""
    known = advice("", otherwise=" that the detector was trained on")
    return f"{text}, outside of {low:g} to {high:g}{known}"


def range_advice(images: Sequence[Ends]) -> str:
    """Return what to do about images that `depth_fault` refuses, or an empty string."""
    finite = [ends for ends in images if np.isfinite(ends).all()]
    if not finite:
        return ""
    low, high = _likely_range(finite)
    return advice(
        f"; give what is to become 0 and 255, such as data.range=[{low:g},{high:g}]",
        otherwise=f"; or say what is to become 0 and 255, such as --range {low:g} {high:g}",
        python="; or say what is to become 0 and 255, such as "
        f"load_detector(..., range_=({low:g}, {high:g}))",
    )


def _likely_range(images: Sequence[Ends]) -> Ends:
    """Return 0 and 1, or 0 and the most that the bits in use can hold, or the numbers' own ends."""
    low, high = min(ends[0] for ends in images), max(ends[1] for ends in images)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and all(end.is_integer() for ends in images for end in ends):
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    return low, high


def chosen_range(images: Sequence[tuple[str, Ends]]) -> tuple[float, ...]:
    """Return 0 and the most that the bits in use can hold, such as 4095 for 12 bits in 16.

    It is empty if all files have floating-point numbers or numbers below 0.
    """
    most = [int(high) for dtype, (low, high) in images if np.dtype(dtype).kind in "ui" and low >= 0]
    return (0.0, float(2 ** max(8, max(most).bit_length()) - 1)) if most else ()


def check_channels(in_channels: int) -> None:
    """Raise UserError unless a detector can see so many channels."""
    if in_channels not in (1, 3):
        raise UserError(f"in_channels is {in_channels}; expected 3 (RGB) or 1 (gray).")
