"""Write predicted labels as masks that lie on disk exactly as the image does."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from tasks.common.files.atomic import replacing
from tasks.common.images.orientation import TAG, UPRIGHT, as_stored
from tasks.common.images.tiff import tiff_tags
from tasks.segmentation.data.cases import ClassTable, Geometry, Labels, decode
from tasks.segmentation.data.formats.files import is_volume, suffix_of

_LOSSLESS: Final = (".png", ".tif", ".tiff", ".bmp")
_RESOLUTION, _UNIT = (282, 283), 296  # the TIFF tags of pixels per unit in x and y, and the unit
_CANONICAL: Final = np.array([[0, 1], [1, 1], [2, 1]])  # RAS, as nibabel notes it


def write_mask(
    labels: Labels, classes: ClassTable, geometry: Geometry, *, folder: Path, name: str
) -> list[Path]:
    """Write the labels of a case in the geometry and file type of its image.

    A NIfTI file has the image's affine, shape, orientation and unit. A flat image keeps its type if
    that is lossless, and becomes PNG otherwise; TIFF keeps its resolution. Its pixels lie as those
    of the image file do, and it notes the same EXIF orientation. The numbers are the mask
    values of the class table, or its colours as RGB, of which volumes get the number of the class,
    from 0; where classes overlap, each has a file of 0
    and 1 with its name.

    Args:
        labels: (D, H, W) of class indices, or (K, D, H, W) of 0 and 1.
        classes: The K classes.
        geometry: As `read_image` returned it for the (first) image.
        folder: Made if it is not there.
        name: Of the case; may have folders in it.

    Returns:
        The files, which appear complete or not at all.
    """
    volume = is_volume(geometry.source)
    if volume and classes.colours:  # NIfTI has none
        numbers = tuple((index,) for index in range(len(classes.names)))
        classes = replace(classes, colours=False, values=numbers)
    layers = [decode(labels, classes)] if classes.exclusive else [layer == 1 for layer in labels]
    masks = dict(zip(mask_names(name, classes), layers, strict=True))
    written = []
    for stem, mask in masks.items():
        if classes.colours:
            values = np.stack([mask >> 16, mask >> 8, mask], axis=-1).astype(np.uint8)  # [D,H,W,3]
        else:
            values = mask.astype(np.uint8 if mask.max(initial=0) <= 255 else np.uint16)
        write = _write_volume if volume else _write_flat
        written.append(write(values, geometry, folder / stem))
    return written


def mask_names(name: str, classes: ClassTable) -> list[str]:
    """Return the names, without suffixes, of the masks that `write_mask` writes of a case."""
    if classes.exclusive:
        return [name]
    return [f"{name}_{c.replace('/', '-')}" for c in classes.names]  # a class names no folder


def _write_volume(mask: NDArray[Any], geometry: Geometry, stem: Path) -> Path:
    """Write (D, H, W) as NIfTI, with slices and directions where the source has them."""
    source = nib.load(geometry.source)
    axis = geometry.axis or 0
    order = [axis, *(i for i in range(3) if i != axis)]
    canonical = mask.transpose(np.argsort(order))
    orientation = nib.orientations.io_orientation(source.affine)
    back = nib.orientations.ornt_transform(_CANONICAL, orientation)
    values = nib.orientations.apply_orientation(canonical, back).reshape(source.shape[:3])
    header = source.header.copy()
    header.set_data_dtype(values.dtype)
    header.extensions.clear()  # scanners put patients' names there
    header["cal_min"] = header["cal_max"] = 0  # the image's window would hide the classes
    content = type(source)(np.ascontiguousarray(values), source.affine, header).to_bytes()
    suffix = suffix_of(geometry.source)
    path = stem.with_name(stem.name + suffix)
    with replacing(path) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0) if suffix == ".nii.gz" else content)
    return path


def _write_flat(mask: NDArray[Any], geometry: Geometry, stem: Path) -> Path:
    """Write (D, H, W) or (D, H, W, 3) as an image of D pages."""
    suffix = suffix_of(geometry.source)
    if suffix not in _LOSSLESS or (suffix == ".bmp" and mask.dtype != np.uint8):
        suffix = ".png"
    path = stem.with_name(stem.name + suffix)
    way = geometry.orientation
    pages = [Pillow.fromarray(as_stored(p, way) if geometry.turned else p) for p in mask]
    with replacing(path) as partial:
        if suffix in (".tif", ".tiff"):
            known = tiff_tags(geometry.source)
            tags = ImageFileDirectory_v2()
            if _UNIT in known:
                tags[_UNIT] = int(known[_UNIT])
            for tag in _RESOLUTION:
                if isinstance(known.get(tag), tuple):
                    tags[tag] = IFDRational(*known[tag])
            if way != UPRIGHT:
                tags[TAG] = way
            pages[0].save(partial, save_all=True, append_images=pages[1:], tiffinfo=tags)
        elif way != UPRIGHT and suffix == ".png":
            notes = Pillow.Exif()
            notes[TAG] = way
            pages[0].save(partial, exif=notes)
        else:
            pages[0].save(partial)
    return path
