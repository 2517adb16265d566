"""Read images and masks: flat files, stacks of pages, and NIfTI volumes in one orientation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from tasks.common.flat_image import read_flat
from tasks.common.orientation import turned
from tasks.common.paths import IMAGE_SUFFIXES, existing_file
from tasks.segmentation.cases import IGNORE, ClassTable, Geometry, Image, Labels, encode
from tasks.segmentation.volumes import TOLERANCE, affine_of, flat_text, read_volume

VOLUME_SUFFIXES: Final = (".nii.gz", ".nii")
SUFFIXES: Final = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
Pixels = NDArray[Any]


def suffix_of(path: Path) -> str:
    """Return which of `SUFFIXES` a file has, or an empty string."""
    # Not Path.suffix: that of a.nii.gz is .gz, and of case.1.nii.gz there are three.
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def is_volume(path: Path) -> bool:
    """Return whether a file is a NIfTI volume, by its name."""
    return suffix_of(path) in VOLUME_SUFFIXES


def read_image(paths: Sequence[Path], *, axis: int, exif: str = "refuse") -> tuple[Image, Geometry]:
    """Return an image (C, D, H, W) in the numbers that are stored, and how it lies on disk.

    Gray is one channel, colour three (RGB); palettes and CMYK become RGB, transparency is dropped,
    two levels are 0 and 255; `read_flat` says more. The pages of a TIFF file are slices. Volumes
    are turned to the closest canonical (RAS) orientation, then their slice axis comes first; a
    fourth axis holds channels.

    Whole numbers stay whole: uint8, uint16, int16 or int32. Others become float32, as do volumes
    with a scale in their header.

    Args:
        paths: One file, or one per group of channels.
        axis: See `CaseSet`; of flat images it is not used. With -1 a volume of one slice is cut
            where it has one, and spacings within 1 % are equal.
        exif: What becomes of flat images that are to be shown turned; see
            `tasks.common.orientation.turned`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or of a kind that is not read, or differs from the first
            in size or place, or is to be shown turned and ``exif`` is ``refuse``.
    """
    files = [_read(path, axis=axis, exif=exif) for path in paths]
    first, geometry = files[0]
    for path, (pixels, _) in zip(paths[1:], files[1:], strict=True):
        check_same_grid(paths[0], path, sizes=(first.shape[1:], pixels.shape[1:]))
    joined = np.concatenate([pixels for pixels, _ in files])
    return np.ascontiguousarray(_storable(joined, source=paths[0])), geometry


def read_mask(
    paths: Sequence[Path], classes: ClassTable, *, axis: int, exif: str = "refuse"
) -> tuple[Labels, Geometry]:
    """Return the labels of a mask and how it lies on disk.

    The stored numbers are read: of a palette file the indices, not the colours, and MinIsWhite
    inverts nothing. Two levels are 0 and 255, as in OpenCV and in Pillow's gray. Three equal
    channels are one.

    Args:
        paths: One file, or one per class where classes overlap; in these all but 0 is the class.
        classes: What the values stand for.
        axis: As for the image.
        exif: As for the image; the mask is turned by its own orientation.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, has a value of no class, several different channels or
            numbers that are not whole, or if the number of files is neither 1 nor that of classes.
    """
    if len(paths) != 1 and (classes.exclusive or len(paths) != len(classes.names)):
        expected = "1" if classes.exclusive else f"1 or {len(classes.names)}, one per class"
        names = [path.name for path in paths]
        raise ValueError(f"a mask has {len(paths)} files, {names}; expected {expected}.")
    masks = [_mask(path, axis=axis, exif=exif) for path in paths]
    values, geometry = masks[0]
    own = not classes.exclusive and set(classes.values) == {(1,)}  # a file per class, even if one
    if len(paths) == 1 and not (own and len(classes.names) == 1):
        return encode(values, classes, source=paths[0]), geometry
    for path, (other, _) in zip(paths[1:], masks[1:], strict=True):
        check_same_grid(paths[0], path, sizes=(values.shape, other.shape))
    layers = np.stack([mask != 0 for mask, _ in masks]).astype(np.uint8)
    ignored = np.isin(np.stack([mask for mask, _ in masks]), classes.ignored).any(axis=0)
    layers[:, ignored] = IGNORE
    return layers, geometry


def mask_values(path: Path) -> list[int]:
    """Return the different values of a mask file, sorted; errors are those of `read_mask`."""
    return [int(value) for value in np.unique(_mask(path, axis=-1, exif="ignore")[0])]


def check_same_grid(
    first: Path, other: Path, *, sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Raise ValueError unless two files show the same pixels of the same thing.

    Args:
        first: An image.
        other: Its mask, or further channels.
        sizes: (D, H, W) of both, as they were read.
    """
    if is_volume(first) != is_volume(other):
        kinds = ["a volume" if is_volume(path) else "a flat image" for path in (other, first)]
        raise ValueError(f"{other} is {kinds[0]}, but {first} is {kinds[1]}.")
    if sizes[0] != sizes[1]:
        turned = sizes[0] == (*sizes[1][:-2], sizes[1][-1], sizes[1][-2])
        raise ValueError(
            f"{other} has the size {_by(sizes[1])}, but {first} has {_by(sizes[0])}"
            f"{' (turned by an EXIF orientation? See data.exif)' if turned else ''}."
        )
    if not is_volume(first):
        return
    ours, theirs = (affine_of(nib.load(path), source=path) for path in (first, other))
    spacing = float(voxel_sizes(ours).min())
    if not np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * spacing):
        raise ValueError(
            f"{other} lies elsewhere than {first}: its affine is {flat_text(theirs)}, not "
            f"{flat_text(ours)}. Copy the header, or resample it onto the image."
        )


def _read(path: Path, *, axis: int, exif: str, stored: bool = False) -> tuple[Pixels, Geometry]:
    """Return (C, D, H, W); ``stored`` as of `read_flat`."""
    existing_file(path, what="image")
    if is_volume(path):
        values, geometry = read_volume(path, axis=axis)
        return _storable(values, source=path), geometry
    found = read_flat(path, stored=stored)
    pages = turned(found.pages, found.orientation, exif=exif, path=path)
    stack = np.stack([page.reshape(*page.shape[:2], -1) for page in pages])  # [D,H,W,C]
    pixels = _storable(np.moveaxis(stack, -1, 0), source=path)
    return pixels, Geometry(
        source=path,
        spacing=(1.0, 1.0, 1.0),
        unit="px",
        axis=None,
        orientation=found.orientation,
        turned=exif == "apply",
    )


def _mask(path: Path, *, axis: int, exif: str) -> tuple[NDArray[np.integer[Any]], Geometry]:
    """Return (D, H, W) of whole numbers."""
    if suffix_of(path) in (".jpg", ".jpeg"):
        raise ValueError(
            f"{path} is a JPEG, which changes the numbers near edges; expected a mask in a format "
            "that keeps them, such as PNG. Make it again from its source."
        )
    pixels, geometry = _read(path, axis=axis, exif=exif, stored=True)
    values = pixels[0]
    if (pixels[1:] != values).any():
        raise ValueError(
            f"{path} has {len(pixels)} channels that differ; expected a mask with one number per "
            "pixel. Turn its colours into class values."
        )
    if values.dtype.kind == "f":
        odd = values[~(np.isfinite(values) & (values == np.rint(values)))]
        if odd.size:
            raise ValueError(
                f"{path} has mask values that are not whole, such as {odd[0]:g} ({odd.size} "
                "pixels); expected one whole number per class. Was it resampled or scaled?"
            )
        values = values.astype(np.int64)
    return values, geometry


def _storable(pixels: Pixels, *, source: Path) -> Pixels:
    """Return the numbers in one of the types of `Image`."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an infinity is found by the check of the cases
            return pixels.astype(np.float32, copy=False)
    pixels = pixels.astype(np.result_type(pixels, np.uint8), copy=False)
    if pixels.dtype in (np.uint8, np.uint16, np.int16, np.int32):
        return pixels
    limits = np.iinfo(np.int32)
    if pixels.min() < limits.min or pixels.max() > limits.max:
        raise ValueError(f"{source} has numbers up to {pixels.max()}; expected 32 bits at most.")
    return pixels.astype(np.int32)


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)
