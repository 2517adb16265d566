"""Read masks: one number for each pixel, from numbers, palettes, colours or two noisy levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from tasks.common.advice import advice
from tasks.segmentation.cases import IGNORE, ClassTable, Geometry, Labels, encode
from tasks.segmentation.palettes import Palette, palette_of
from tasks.segmentation.readers import check_same_grid, is_volume, read_file, suffix_of

Numbers = NDArray[np.integer[Any]]

_NEAR: Final = 0.01  # of a whole number: what is lost where volumes are stored with a scale
_BITS: Final = 2**31
ABOVE: Final = 255  # what a threshold makes of the pixels from it on; 0 of the others


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """What a mask file holds.

    Attributes:
        path: Of the file.
        values: (D, H, W) of whole numbers; of colours 0xRRGGBB.
        geometry: How it lies on disk.
        dtype: Of the stored numbers, as numpy calls it.
        rounded: How many pixels were not whole numbers, but nearly so.
        palette: The colours of a palette file whose indices are the values; empty for others.
    """

    path: Path
    values: Numbers
    geometry: Geometry
    dtype: str
    rounded: int
    palette: Palette


def read_mask_files(
    paths: Sequence[Path], classes: ClassTable, *, axis: int, exif: str = "refuse"
) -> list[MaskFile]:
    """Return what the mask files of a case hold.

    The stored numbers are read: of a palette file the indices, not the colours, and MinIsWhite
    inverts nothing. Two levels are 0 and 255, as in OpenCV and in Pillow's gray. Three equal
    channels are one. Numbers within 0.01 of whole ones are rounded. ``classes.colours`` reads
    colours in place of numbers, and ``classes.threshold`` makes two levels of them.

    Args:
        paths: One file, or one per class where classes overlap; in these all but 0 is the class.
        classes: What the values stand for.
        axis: As for the image.
        exif: As for the image; a mask is turned by its own orientation.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, has several different channels or numbers that are not
            whole, or if the number of files is neither 1 nor that of classes.
    """
    if len(paths) != 1 and (classes.exclusive or len(paths) != len(classes.names)):
        expected = "1" if classes.exclusive else f"1 or {len(classes.names)}, one per class"
        names = [path.name for path in paths]
        raise ValueError(f"a mask has {len(paths)} files, {names}; expected {expected}.")
    return [_mask_file(path, classes, axis=axis, exif=exif) for path in paths]


def read_mask(
    paths: Sequence[Path], classes: ClassTable, *, axis: int, exif: str = "refuse"
) -> tuple[Labels, Geometry]:
    """Return the labels of a mask and how it lies on disk.

    Args:
        paths: As of `read_mask_files`.
        classes: What the values stand for.
        axis: As for the image.
        exif: As for the image.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: As `read_mask_files` does, or if a file has a value of no class.
    """
    files = read_mask_files(paths, classes, axis=axis, exif=exif)
    return labels_of(files, classes), files[0].geometry


def labels_of(files: Sequence[MaskFile], classes: ClassTable) -> Labels:
    """Return the labels of a case.

    Args:
        files: Of one case, from `read_mask_files`.
        classes: What the values stand for.

    Raises:
        ValueError: If a value is of no class, or the files differ in size or place.
    """
    first = files[0]
    own = not classes.exclusive and set(classes.values) == {(1,)}  # a file per class, even if one
    if len(files) == 1 and not (own and len(classes.names) == 1):
        return encode(first.values, classes, source=first.path)
    for file in files[1:]:
        check_same_grid(first.path, file.path, sizes=(first.values.shape, file.values.shape))
    stack = np.stack([file.values for file in files])
    layers: Labels = (stack != 0).astype(np.uint8)
    layers[:, np.isin(stack, classes.ignored).any(axis=0)] = IGNORE
    return layers


def mask_counts(path: Path, classes: ClassTable) -> tuple[dict[int, int], str]:
    """Return how many pixels of a mask file have each value, by value, and the type of its numbers.

    Args:
        path: The file.
        classes: How it is read; what the values stand for is not looked at.
    """
    file = _mask_file(path, classes, axis=-1, exif="ignore")
    values, counts = np.unique(file.values, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}, file.dtype


def _mask_file(path: Path, classes: ClassTable, *, axis: int, exif: str) -> MaskFile:
    if suffix_of(path) in (".jpg", ".jpeg") and classes.threshold is None:
        raise ValueError(
            f"{path} is a JPEG, which changes the numbers near edges; expected a mask in a format "
            "that keeps them, such as PNG. Make it again from its source"
            f"{advice('; for two levels, data.threshold=128 tells them apart again')}."
        )
    stored = not classes.colours
    pixels, geometry = read_file(path, axis=axis, exif=exif, stored=stored)
    values = _packed(pixels, path) if classes.colours else _one_channel(pixels, path)
    rounded = 0
    if classes.threshold is not None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{path} has mask values that are NaN or infinite; repair it.")
        values = np.where(values >= classes.threshold, ABOVE, 0).astype(np.uint8)
    elif values.dtype.kind == "f":
        values, rounded = _rounded(values, path)
    plain = stored and classes.threshold is None and not is_volume(path)
    return MaskFile(
        path=path,
        values=values,
        geometry=geometry,
        dtype=str(pixels.dtype),
        rounded=rounded,
        palette=palette_of(path) if plain else (),
    )


def _one_channel(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return (D, H, W) of (C, D, H, W)."""
    values: NDArray[Any] = pixels[0]
    if (pixels[1:] != values).any():
        hint = advice(
            " Name its colours with data.classes, such as {background: [0, 0, 0], cell: "
            "[255, 0, 0]}, or turn them into class values.",
            otherwise=" Turn its colours into class values.",
        )
        if _has_drawn_alpha(path):
            hint += " Or is the mask in its alpha channel, which is not read? Save that as gray."
        raise ValueError(
            f"{path} has {len(pixels)} channels that differ; expected a mask with one number per "
            f"pixel.{hint}"
        )
    if values.size and values.min() == values.max() and _has_drawn_alpha(path):
        raise ValueError(
            f"{path} has one colour everywhere, and an alpha channel that differs: is the mask in "
            "the alpha channel, which is not read? Save that as gray, in a file without alpha."
        )
    return values


def _has_drawn_alpha(path: Path) -> bool:
    """Return whether a flat image has an alpha channel with more than one value."""
    if is_volume(path):
        return False
    try:
        with Pillow.open(path) as source:
            if not source.mode.endswith(("A", "a")):
                return False
            low, high = source.getchannel(source.getbands()[-1]).getextrema()
    except (OSError, ValueError):  # it was read by another library
        return False
    return bool(low != high)


def _packed(pixels: NDArray[Any], path: Path) -> Numbers:
    """Return colours (C, D, H, W) as (D, H, W) of 0xRRGGBB."""
    if len(pixels) not in (1, 3) or pixels.dtype != np.uint8 or is_volume(path):
        raise ValueError(
            f"{path} has {len(pixels)} channels of {pixels.dtype}, but the classes are told by "
            "colours; expected a flat image of gray or RGB with 8 bits."
        )
    red, green, blue = (pixels[i % len(pixels)].astype(np.int32) for i in range(3))
    packed: Numbers = red << 16 | green << 8 | blue
    return packed


def _rounded(values: NDArray[Any], path: Path) -> tuple[Numbers, int]:
    """Return whole numbers, and how many were not quite."""
    nearest = np.rint(values)
    with np.errstate(invalid="ignore"):  # of infinities
        off = np.abs(values - nearest)
    odd = values[~(off <= _NEAR)]
    if odd.size:
        raise ValueError(
            f"{path} has mask values that are not whole, such as {odd[0]!s} ({odd.size} "
            "pixels); expected one whole number per class. Was it resampled or scaled?"
        )
    if nearest.size and np.abs(nearest).max() >= _BITS:
        raise ValueError(
            f"{path} has mask values up to {np.abs(nearest).max()!s}; expected 32 bits at most."
        )
    return nearest.astype(np.int64), int(np.count_nonzero(off))
