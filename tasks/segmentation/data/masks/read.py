"""Read masks: one number for each pixel, from numbers, palettes, colours or two noisy levels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.images.decoded import FlatImage
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import IGNORE, ClassTable, Geometry, Image, Labels, encode
from tasks.segmentation.data.formats.files import (
    ReadFile,
    check_same_grid,
    is_volume,
    read_file,
    volume_type,
)
from tasks.segmentation.data.masks.colours import ColouredMaskError, colours_of, packed
from tasks.segmentation.data.masks.palettes import UsedPalette, palettes_of

Numbers = NDArray[np.integer[Any]]
ABOVE: Final = 255  # what a threshold makes of the pixels from it on, or 1 if that is the class
_CUT: Final = "; for two levels, data.threshold=128 tells them apart again"
NNUNET: Final = "the labels of dataset.json"  # whose layout has no options of masks
_GRAYISH: Final = 48  # between channels of gray that was saved as RGB with losses
_NEAR: Final = 0.01  # of a whole number: what is lost where volumes are stored with a scale
_BITS: Final = 2**31


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """(D, H, W) of whole numbers or colours 0xRRGGBB from a mask file, stored as ``dtype``."""

    path: Path
    values: Numbers
    geometry: Geometry
    dtype: str
    rounded: int  # how many pixels were not whole numbers, but nearly so
    palettes: tuple[UsedPalette, ...]
    min_is_white: bool  # whether the smallest number means white
    alpha_tells: bool  # whether alpha, which is not read, does not follow from the values


@dataclass(frozen=True, kw_only=True)
class MaskValues:
    """How many pixels of a mask have each value, before classes are known; see `MaskFile`."""

    counts: Mapping[int, int]
    dtype: str
    palettes: tuple[UsedPalette, ...] = ()
    alpha_tells: bool = False


def read_mask_files(
    paths: Sequence[Path], classes: ClassTable, *, axis: int, exif: str = "refuse"
) -> list[MaskFile]:
    """Return what the mask files of a case hold: one, or one per class where classes overlap.

    The stored numbers are read: the indices of a palette file, not its colours, and MinIsWhite
    inverts nothing. Two levels are 0 and 255, as in OpenCV and in Pillow's gray. Three equal
    channels are one. Numbers within 0.01 of whole ones are rounded. ``classes.colours`` reads
    colours in place of numbers, and ``classes.threshold`` makes two levels of them. A mask is
    turned by its own EXIF orientation.
    """
    if len(paths) != 1 and (classes.exclusive or len(paths) != len(classes.names)):
        expected = "1" if classes.exclusive else f"1 or {len(classes.names)}, one per class"
        names = [path.name for path in paths]
        raise UserError(f"a mask has {len(paths)} files, {names}; expected {expected}.")
    return [_mask_file(path, classes, axis=axis, exif=exif) for path in paths]


def read_mask(
    paths: Sequence[Path], classes: ClassTable, *, axis: int, exif: str = "refuse"
) -> tuple[Labels, Geometry]:
    """Return the labels of a mask and how it lies on disk; see `read_mask_files`."""
    files = read_mask_files(paths, classes, axis=axis, exif=exif)
    return labels_of(files, classes), files[0].geometry


def labels_of(files: Sequence[MaskFile], classes: ClassTable) -> Labels:
    """Return the labels of a case; refuses values of no class and files of other size or place."""
    first = files[0]
    if len(files) == 1 and not (classes.own_files and len(classes.names) == 1):
        return encode(first.values, classes, source=first.path)
    for file in files[1:]:
        check_same_grid(first.path, file.path, sizes=(first.values.shape, file.values.shape))
    stack = np.stack([file.values for file in files])
    layers: Labels = (stack != 0).astype(np.uint8)
    layers[:, np.isin(stack, classes.ignored).any(axis=0)] = IGNORE
    return layers


def is_copy(mask: MaskFile, image: Image, classes: ClassTable) -> bool:
    """Return whether a mask, read with ``classes``, is the first channel of its image."""
    values = image[0] if classes.threshold is None else _cut(image[:1], classes, mask.path)
    return bool(np.array_equal(mask.values, values))


def mask_values(path: Path, classes: ClassTable) -> MaskValues:
    """Return which values a mask file has; ``classes`` says how it is read."""
    file = _mask_file(path, classes, axis=-1, exif="ignore")
    values, counts = np.unique(file.values, return_counts=True)
    return MaskValues(
        counts=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        dtype=file.dtype,
        palettes=file.palettes,
        alpha_tells=file.alpha_tells,
    )


def _mask_file(path: Path, classes: ClassTable, *, axis: int, exif: str) -> MaskFile:
    stored = not classes.colours
    read = read_file(path, axis=axis, exif=exif, stored=stored)
    if read.flat and read.flat.lossy and classes.threshold is None:
        raise UserError(
            f"{path} is {read.flat.lossy}, which changes the numbers near edges; expected a mask "
            "in a format that keeps them, such as PNG. Make it again from its source"
            f"{'' if classes.source == NNUNET else advice(_CUT)}."
        )
    values, rounded = read.pixels, 0
    if classes.colours:
        values = _packed(read.pixels, path)
    elif classes.threshold is not None:
        values = _cut(read.pixels, classes, path)
    else:
        values = _one_channel(read, path, source=classes.source)
    if values.dtype.kind == "f":
        values, rounded = whole_numbers(values, path)
    return MaskFile(
        path=path,
        values=values,
        geometry=read.geometry,
        dtype=str(read.pixels.dtype),
        rounded=rounded,
        palettes=palettes_of(path, read.flat) if read.flat and stored else (),
        min_is_white=read.flat is not None and read.flat.min_is_white,
        alpha_tells=read.flat is not None and _alpha_tells(read.flat),
    )


def _cut(pixels: NDArray[Any], classes: ClassTable, path: Path) -> Numbers:
    """Return two levels, (D, H, W), of (C, D, H, W)."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UserError(f"{path} has mask values that are NaN or infinite; repair it.")
    if len(pixels) > 1 and (off := np.ptp(pixels.astype(np.float64), axis=0)).max() > _GRAYISH:
        raise UserError(
            f"{path} has {len(pixels)} channels that differ by up to {off.max():g}; expected gray, "
            "as masks are cut at a threshold."
        )
    values = pixels[0] if len(pixels) == 1 else pixels.mean(axis=0)
    above = 1 if any(1 in values for values in classes.values) else ABOVE
    return np.where(values >= classes.threshold, above, 0).astype(np.uint8)


def _one_channel(read: ReadFile, path: Path, *, source: str) -> NDArray[Any]:
    """Return (D, H, W) of (C, D, H, W)."""
    pixels = read.pixels
    values: NDArray[Any] = pixels[0]
    drawn_alpha = any(bool(np.ptp(alpha)) for alpha in (read.flat.alphas if read.flat else ()))
    if (pixels[1:] != values).any():
        colours = {} if is_volume(path) else colours_of(pixels)
        raise ColouredMaskError(
            path, colours, channels=len(pixels), drawn_alpha=drawn_alpha, can_name=source != NNUNET
        )
    if drawn_alpha and values.min() == values.max():
        raise UserError(
            f"{path} has one colour everywhere, and an alpha channel that differs: is the mask in "
            "the alpha channel, which is not read? Save that as gray, in a file without alpha."
        )
    return values


def _alpha_tells(flat: FlatImage) -> bool:
    """Return whether alpha has several values where the first channel has one."""
    for page, alpha in zip(flat.pages, flat.alphas, strict=False):
        values = page.reshape(*alpha.shape, -1)[..., 0]
        numbers = np.unique(values, return_inverse=True)[1].ravel()
        one_of = np.zeros(numbers.max() + 1, alpha.dtype)
        one_of[numbers] = alpha.ravel()
        if (one_of[numbers] != alpha.ravel()).any():
            return True
    return False


def _packed(pixels: NDArray[Any], path: Path) -> Numbers:
    """Return colours (C, D, H, W) as (D, H, W) of 0xRRGGBB."""
    if len(pixels) not in (1, 3) or pixels.dtype != np.uint8 or is_volume(path):
        raise UserError(
            f"{path} has {len(pixels)} channels of {pixels.dtype}, but the classes are told by "
            "colours; expected a flat image of gray or RGB with 8 bits."
        )
    return packed(pixels)


def whole_numbers(values: NDArray[Any], path: Path) -> tuple[NDArray[np.int64], int]:
    """Return floating-point mask values as whole numbers, and how many were not quite.

    Refused are NaN, infinity, more than 32 bits, and what is further than 0.01 from a whole number.
    """
    if (wrong := values[~np.isfinite(values)]).size:
        raise UserError(
            f"{path} has mask values that are not finite, such as {wrong[0]!s} ({wrong.size} "
            "pixels); expected one whole number per class. Replace them, such as by 0."
        )
    nearest = np.rint(values)
    off = np.abs(values - nearest)
    if (odd := values[off > _NEAR]).size:
        raise UserError(
            f"{path} has mask values that are not whole, such as {odd[0]!s} ({odd.size} "
            f"pixels); expected one whole number per class. {_reason(values, path)}"
        )
    if (large := nearest[np.abs(nearest) >= _BITS]).size:
        raise UserError(
            f"{path} has mask values such as {large[0]!s} ({large.size} pixels); expected 32 bits "
            "at most. Give the classes smaller numbers."
        )
    return nearest.astype(np.int64), int(np.count_nonzero(off))


def _reason(values: NDArray[Any], path: Path) -> str:
    """Return why values may not be whole, and what to do."""
    if (kind := volume_type(path)) and (scale := kind.scale(path)):
        return scale
    if values.min() >= 0 and values.max() <= 1 + _NEAR:
        training = "data.threshold=0.5 makes two levels of them."
        return f"Are these probabilities? {advice(training, otherwise='Cut them at 0.5.')}"
    return "Was it resampled or scaled? Resample masks by the nearest neighbour."
