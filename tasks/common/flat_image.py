"""Read PNG, TIFF, BMP, JPEG and WebP files in the numbers that they hold."""

from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from tifffile import TiffFile, TiffPage

ORIENTATION: Final = 274  # the tag of a TIFF file that says how to turn it
_FORMATS: Final = ("PNG", "TIFF", "BMP", "DIB", "JPEG", "WEBP")
_SAMPLES: Final = 277  # the tag of how many numbers a pixel has
_PLANAR: Final = 2  # a plane after the other
_ALPHA: Final = (1, 2)
_TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AS_STORED: Final = ("L", "RGB", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")

Pixels = NDArray[Any]


def tiff_tags(path: Path) -> dict[int, Any]:
    """Return the tags of the first page of a TIFF file by number; of other files none."""
    with path.open("rb") as file:
        header = file.read(8)
        if header[:4] not in _TIFF_STARTS:
            return {}
        if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF
            header += file.read(8)
        tags = ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        return dict(tags)


def read_pages(path: Path, *, indices: bool) -> list[Pixels]:
    """Return (H, W) or (H, W, C) of each page; a file that is truncated raises.

    An alpha channel, as PNG has one and as a TIFF file may call one of its samples, is left out.

    Args:
        path: A flat image.
        indices: Whether a palette gives its indices in place of its colours.
    """
    if tiff_tags(path).get(_SAMPLES, 1) > 1:
        return _tiff_pages(path)
    pages = []
    try:
        with Pillow.open(path, formats=_FORMATS) as source:
            for number in range(getattr(source, "n_frames", 1) if source.format == "TIFF" else 1):
                source.seek(number)
                # Pillow cuts colours of 16 bits to 8.
                deep = len(source.getbands()) > 1 and ";16" in str(source.tile)
                source.load()
                if deep:
                    colours = 1 if source.mode == "LA" else 3
                    return [page[..., :colours] for page in _opencv_pages(path)]
                pages.append(_page(source, indices=indices))
    except UnidentifiedImageError:
        if not tiff_tags(path):
            raise
        return _opencv_pages(path)  # 64-bit numbers, or colours as floats
    return pages


def _tiff_pages(path: Path) -> list[Pixels]:
    """Return the pages of a TIFF file of several samples per pixel; Pillow drops some."""
    pages = []
    with TiffFile(path) as source:
        for number in range(len(source.pages)):
            page = cast("TiffPage", source.pages.get(number, aspage=True))
            pixels = page.asarray()
            if page.planarconfig == _PLANAR:
                pixels = np.moveaxis(pixels, 0, -1)
            samples = pixels.shape[-1]
            extra = page.extrasamples
            kept = [
                channel
                for channel in range(samples)
                if channel < samples - len(extra) or extra[channel - samples] not in _ALPHA
            ]
            pages.append(pixels[..., kept])
    return pages


def _page(source: Pillow.Image, *, indices: bool) -> Pixels:
    image: Pillow.Image = source
    if source.mode == "1":
        image = source.convert("L")
    elif source.mode in ("LA", "La") or (source.mode == "PA" and indices):
        image = source.getchannel(0)
    elif source.mode not in _AS_STORED and not (source.mode == "P" and indices):
        image = source.convert("RGB")
    pixels = np.asarray(image)
    # Pillow widens signed numbers of 16 bits.
    narrow = source.mode == "I" and getattr(source, "tag_v2", {}).get(258) == (16,)
    return pixels.astype(np.int16) if narrow else pixels


def _opencv_pages(path: Path) -> list[Pixels]:
    content = np.fromfile(path, dtype=np.uint8)
    _, pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
    if not pages:
        raise ValueError("neither Pillow nor OpenCV reads it")
    return [page[..., 2::-1] if page.ndim == 3 else page for page in pages]  # BGR(A)
