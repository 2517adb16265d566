"""Flat images: PNG, TIFF with any number of pages, BMP, JPEG and WebP."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from tasks.common.images.decoded import FlatImage
from tasks.common.images.flat import read_flat
from tasks.common.images.orientation import TAG, UPRIGHT, as_stored, oriented
from tasks.common.images.tiff import tiff_tags
from tasks.segmentation.data.cases import Geometry

_TIFF: Final = (".tif", ".tiff")
_LOSSLESS: Final = (".png", ".bmp", *_TIFF)
_RESOLUTION, _UNIT = (282, 283), 296  # the TIFF tags of pixels per unit in x and y, and the unit


def read_pages(path: Path, *, exif: str, stored: bool) -> tuple[NDArray[Any], Geometry, FlatImage]:
    """Return the pages as (C, D, H, W), how they lie on disk, and what else `read_flat` found."""
    found = read_flat(path, stored=stored)
    pages = oriented(found.pages, found.orientation, exif=exif, path=path)
    stack = np.stack([page.reshape(*page.shape[:2], -1) for page in pages])  # [D,H,W,C]
    geometry = Geometry(
        source=path,
        spacing=(1.0, 1.0, 1.0),
        unit="px",
        axis=None,
        orientation=found.orientation,
        turned=exif == "apply",
    )
    return np.moveaxis(stack, -1, 0), geometry, found


def written_suffix(suffix: str, mask: NDArray[Any]) -> str:
    """Return the suffix of a mask for that of its image: of a type that keeps the numbers."""
    kept = suffix in _LOSSLESS and (suffix != ".bmp" or mask.dtype == np.uint8)
    return suffix if kept else ".png"


def write_pages(mask: NDArray[Any], path: Path, geometry: Geometry) -> None:
    """Write (D, H, W), or (D, H, W, 3) of colours, as D pages that lie as the image's do."""
    way = geometry.orientation
    pages = [Pillow.fromarray(as_stored(p, way) if geometry.turned else p) for p in mask]
    if path.suffix in _TIFF:
        pages[0].save(path, save_all=True, append_images=pages[1:], tiffinfo=_tags(geometry))
    elif way != UPRIGHT and path.suffix == ".png":
        notes = Pillow.Exif()
        notes[TAG] = way
        pages[0].save(path, exif=notes)
    else:
        pages[0].save(path)


def _tags(geometry: Geometry) -> ImageFileDirectory_v2:
    known = tiff_tags(geometry.source)
    tags = ImageFileDirectory_v2()
    if _UNIT in known:
        tags[_UNIT] = int(known[_UNIT])
    for tag in _RESOLUTION:
        if isinstance(known.get(tag), tuple):
            tags[tag] = IFDRational(*known[tag])
    if geometry.orientation != UPRIGHT:
        tags[TAG] = geometry.orientation
    return tags
