"""Read images: flat files, stacks of pages, and NIfTI volumes in one orientation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from tasks.common.files.paths import IMAGE_SUFFIXES, existing_file
from tasks.common.images.decoded import FlatImage
from tasks.common.images.flat import read_flat
from tasks.common.images.orientation import turned
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import Geometry, Image
from tasks.segmentation.data.formats.nifti import TOLERANCE, affine_of, flat_text, read_volume

VOLUME_SUFFIXES: Final = (".nii.gz", ".nii")
SUFFIXES: Final = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
Pixels = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """What was read of a file.

    Attributes:
        pixels: (C, D, H, W).
        geometry: How it lies on disk.
        flat: What else a flat image holds; None for a volume.
    """

    pixels: Pixels
    geometry: Geometry
    flat: FlatImage | None = None


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
            `tasks.common.images.orientation.turned`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or of a kind that is not read, or differs from the first
            in size or place, or is to be shown turned and ``exif`` is ``refuse``.
    """
    files = [read_file(path, axis=axis, exif=exif) for path in paths]
    first = files[0].pixels
    for path, file in zip(paths[1:], files[1:], strict=True):
        check_same_grid(paths[0], path, sizes=(first.shape[1:], file.pixels.shape[1:]))
    joined = np.concatenate([file.pixels for file in files])
    return np.ascontiguousarray(_storable(joined, source=paths[0])), files[0].geometry


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
        option = advice("data.exif", otherwise="--exif")
        turned = sizes[0] == (*sizes[1][:-2], sizes[1][-1], sizes[1][-2])
        raise ValueError(
            f"{other} has the size {_by(sizes[1])}, but {first} has {_by(sizes[0])}"
            f"{f' (turned by an EXIF orientation? See {option})' if turned else ''}."
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


def read_file(path: Path, *, axis: int, exif: str, stored: bool = False) -> ReadFile:
    """Return what a file holds; see `read_image` for the errors.

    Args:
        path: An image, a volume or a mask.
        axis: As of `read_image`.
        exif: As of `read_image`.
        stored: As of `read_flat`.
    """
    existing_file(path, what="image")
    if is_volume(path):
        values, geometry = read_volume(path, axis=axis)
        return ReadFile(pixels=_storable(values, source=path), geometry=geometry)
    found = read_flat(path, stored=stored)
    pages = turned(found.pages, found.orientation, exif=exif, path=path)
    stack = np.stack([page.reshape(*page.shape[:2], -1) for page in pages])  # [D,H,W,C]
    pixels = _storable(np.moveaxis(stack, -1, 0), source=path)
    geometry = Geometry(
        source=path,
        spacing=(1.0, 1.0, 1.0),
        unit="px",
        axis=None,
        orientation=found.orientation,
        turned=exif == "apply",
    )
    return ReadFile(pixels=pixels, geometry=geometry, flat=found)


def _storable(pixels: Pixels, *, source: Path) -> Pixels:
    """Return the numbers in one of the types of `Image`."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an infinity is found by the check of the cases
            return pixels.astype(np.float32, copy=False)
    pixels = pixels.astype(np.result_type(pixels, np.uint8), copy=False)
    if pixels.dtype in (np.uint8, np.uint16, np.int16, np.int32):
        return pixels
    limits = np.iinfo(np.int32)
    low, high = pixels.min(), pixels.max()
    if low < limits.min or high > limits.max:
        wrong = f"down to {low}" if low < limits.min else f"up to {high}"
        raise ValueError(
            f"{source} has numbers {wrong}; expected 32 bits at most. Save it with smaller ones."
        )
    return pixels.astype(np.int32)


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)
