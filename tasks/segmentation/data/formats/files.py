"""Image files of every type: read as arrays, and written as masks that lie as their images do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.files.atomic import replacing
from tasks.common.files.paths import IMAGE_SUFFIXES, existing_file
from tasks.common.images.decoded import FlatImage
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import ClassTable, Geometry, Image, Labels, decode
from tasks.segmentation.data.formats.flat import read_pages, write_pages, written_suffix
from tasks.segmentation.data.formats.itk import ITK
from tasks.segmentation.data.formats.nifti import NIFTI
from tasks.segmentation.data.formats.volume import VolumeType, check_same_place

_VOLUMES: Final = {suffix: kind for kind in (NIFTI, ITK) for suffix in kind.suffixes}
VOLUME_SUFFIXES: Final = tuple(_VOLUMES)
SUFFIXES: Final = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
Pixels = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """Pixels (C, D, H, W) of a file, how they lie on disk, and what else a flat image holds."""

    pixels: Pixels
    geometry: Geometry
    flat: FlatImage | None = None


def suffix_of(path: PurePath | str) -> str:
    """Return which of `SUFFIXES` a file has, or an empty string."""
    # Not Path.suffix: that of a.nii.gz is .gz, and of case.1.nii.gz there are three.
    return next((suffix for suffix in SUFFIXES if str(path).lower().endswith(suffix)), "")


def stem_of(path: PurePath | str) -> str:
    """Return a path with ``/`` and without its suffix, if that is one of `SUFFIXES`.

    >>> stem_of("ct/a.b.nii.gz"), stem_of("notes.txt")
    ('ct/a.b', 'notes.txt')
    """
    text = path if isinstance(path, str) else path.as_posix()
    return text[: len(text) - len(suffix_of(text))]


def volume_type(path: Path) -> VolumeType | None:
    """Return how a volume is read and written, by its name; None for a flat image."""
    return _VOLUMES.get(suffix_of(path))


def is_volume(path: Path) -> bool:
    """Return whether a file is a volume, by its name."""
    return volume_type(path) is not None


def read_image(paths: Sequence[Path], *, axis: int, exif: str = "refuse") -> tuple[Image, Geometry]:
    """Return an image (C, D, H, W) in the numbers that are stored, and how it lies on disk.

    Flat files are read by `read_flat`, the pages of a TIFF file as slices. Volumes are turned to
    RAS, then their slice axis comes first (`CaseSet.axis`); a fourth axis holds channels. Whole
    numbers are uint8, uint16, int16 or int32; others become float32, as do volumes with a scale in
    their header.
    """
    files = [read_file(path, axis=axis, exif=exif) for path in paths]
    first, *others = (file.pixels for file in files)
    for path, pixels in zip(paths[1:], others, strict=True):
        check_same_grid(paths[0], path, sizes=(first.shape[1:], pixels.shape[1:]))
    joined = np.concatenate([first, *others])
    return np.ascontiguousarray(storable(joined, source=paths[0])), files[0].geometry


def check_same_grid(
    first: Path, other: Path, *, sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Raise ValueError unless two files have one size (D, H, W) and, as volumes, one place."""
    kinds = volume_type(first), volume_type(other)
    if is_volume(first) != is_volume(other):
        names = ["a flat image" if kind is None else "a volume" for kind in kinds]
        raise UserError(f"{other} is {names[1]}, but {first} is {names[0]}.")
    if sizes[0] != sizes[1]:
        option = advice("data.exif", otherwise="--exif", python="exif")
        turned = sizes[0] == (*sizes[1][:-2], sizes[1][-1], sizes[1][-2])
        raise UserError(
            f"{other} has the size {_by(sizes[1])}, but {first} has {_by(sizes[0])}"
            f"{f' (turned by an EXIF orientation? See {option})' if turned else ''}."
        )
    if kinds[0] and kinds[1]:
        check_same_place((kinds[0], first), (kinds[1], other))


def read_file(path: Path, *, axis: int, exif: str, stored: bool = False) -> ReadFile:
    """Return what an image, a volume or a mask holds; see `read_image` and `read_flat`."""
    existing_file(path, what="image")
    flat = None
    if kind := volume_type(path):
        values, geometry = kind.read(path, axis=axis)
    else:
        values, geometry, flat = read_pages(path, exif=exif, stored=stored)
    return ReadFile(pixels=storable(values, source=path), geometry=geometry, flat=flat)


def write_mask(
    labels: Labels, classes: ClassTable, geometry: Geometry, *, folder: Path, name: str
) -> list[Path]:
    """Write the labels of a case in the geometry and file type of its (first) image.

    Labels are (D, H, W) of class indices, or (K, D, H, W) of 0 and 1, which give a file for each
    class. A flat image keeps its type if that is lossless, and becomes PNG otherwise; its pixels
    lie as those of the image file do. The numbers are the mask values of the class table, or its
    colours as RGB, in place of which volumes get the number of the class, from 0. Files appear
    complete or not at all; ``name`` may have folders in it.
    """
    kind, suffix = volume_type(geometry.source), suffix_of(geometry.source)
    if kind and classes.colours:  # volumes have none
        numbers = tuple((index,) for index in range(len(classes.names)))
        classes = replace(classes, colours=False, values=numbers)
    layers = [decode(labels, classes)] if classes.exclusive else [layer == 1 for layer in labels]
    written = []
    for stem, mask in zip(mask_names(name, classes), layers, strict=True):
        if classes.colours:
            values = np.stack([mask >> 16, mask >> 8, mask], axis=-1).astype(np.uint8)  # [D,H,W,3]
        else:
            values = mask.astype(np.uint8 if mask.max(initial=0) <= 255 else np.uint16)
        end = kind.written.get(suffix, suffix) if kind else written_suffix(suffix, values)
        path = folder / f"{stem}{end}"
        with replacing(path) as partial:
            (kind.write if kind else write_pages)(values, partial, geometry)
        written.append(path)
    return written


def mask_names(name: str, classes: ClassTable) -> list[str]:
    """Return the names, without suffixes, of the masks that `write_mask` writes of a case."""
    if classes.exclusive:
        return [name]
    return [f"{name}_{c.replace('/', '-')}" for c in classes.names]  # a class names no folder


def storable(pixels: Pixels, *, source: Path) -> Pixels:
    """Return pixels as float32 or as one of the whole numbers that `read_image` returns."""
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
        raise UserError(
            f"{source} has numbers {wrong}; expected 32 bits at most. Save it with smaller ones."
        )
    return pixels.astype(np.int32)


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)
