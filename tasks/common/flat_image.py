"""The one reader of flat images: PNG, TIFF, BMP, JPEG and WebP files."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from tasks.common.orientation import orientation_of
from tasks.common.tiff import STARTS, read_tiff

Pixels = NDArray[Any]

_FORMATS: Final = ("PNG", "BMP", "DIB", "JPEG", "WEBP")
_AS_STORED: Final = ("L", "RGB", "I;16", "I;16B", "I;16L", "I;16N")
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH: Final = 24  # where the bits of a sample stand
_PNG_KINDS: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_GRAYS: Final = {";2": 85, ";4": 17}  # Pillow spreads these bits over 8
_FLAGS: Final = {
    None: cv2.IMREAD_UNCHANGED,
    1: cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    3: cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
}


@dataclass(frozen=True, kw_only=True)
class FlatImage:
    """What a file holds.

    Attributes:
        pages: (H, W) or (H, W, C) each, as they are stored: nothing is turned. Several of TIFF.
        orientation: Which way up they are to be shown, 1 to 8; see `tasks.common.orientation`.
    """

    pages: list[Pixels]
    orientation: int


def read_flat(path: Path, *, stored: bool = False, channels: int | None = None) -> FlatImage:
    """Return the pages of an image file, by what it holds, whatever it is called.

    Alpha channels are left out. Two levels are 0 and 255. Images come as they are shown: palettes,
    CMYK and YCbCr become RGB; of what TIFF files say more, see `read_tiff`. A file is decoded
    whole, and what a decoder only notes is an error here: there is never a part of an image.

    Args:
        path: A JPEG, PNG, TIFF, BMP or WebP file.
        stored: Return the stored numbers, as masks need them: palettes give their indices, and
            nothing is inverted or spread over 8 bits.
        channels: 3 makes gray RGB, 1 makes RGB gray; None keeps what the file has.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is empty, damaged, truncated, or of a kind that is not read, or its
            channels can become neither gray nor RGB; with its name.
    """
    with _named(path):
        with path.open("rb") as file:
            start = file.read(4)
        if start in STARTS:
            pages, orientation = read_tiff(path, stored=stored)
            return FlatImage(pages=_with(pages, channels), orientation=orientation)
        content = path.read_bytes()
        check_whole(content)
        if channels is None:
            pages = [_by_pillow(content, stored=stored)]
        else:
            pages = _with([_by_opencv(content, channels)], channels)
        return FlatImage(pages=pages, orientation=orientation_of(content))


def check_whole(content: bytes) -> None:
    """Raise ValueError if a JPEG, PNG or WebP file does not reach its end, or PNG's sums are wrong.

    Args:
        content: Of the file; of other kinds only what is empty raises.
    """
    if content.startswith(_JPEG_START):
        # The end of the image follows its pixels; that of an EXIF thumbnail comes before them.
        whole = content.rfind(_JPEG_END) > content.rfind(_JPEG_SCAN)
    elif content.startswith(_PNG_START):
        whole = _has_whole_chunks(content)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        whole = len(content) >= int.from_bytes(content[4:8], "little") + 8
    else:
        whole = bool(content)
    if not whole:
        raise ValueError("it is empty or truncated")


def _has_whole_chunks(content: bytes) -> bool:
    """Return whether a PNG file has its end; a chunk of pixels with a wrong sum raises."""
    view, place = memoryview(content), len(_PNG_START)
    while place + 12 <= len(content):
        length = int.from_bytes(view[place : place + 4], "big")
        kind, end = bytes(view[place + 4 : place + 8]), place + 8 + length
        if end + 4 > len(content):
            return False
        wrong = zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big")
        if wrong and kind in _PNG_KINDS:
            raise ValueError(f"it is damaged: the check sum of its {kind.decode()} is wrong")
        if kind == b"IEND":
            return True
        place = end + 4
    return False


def _by_pillow(content: bytes, *, stored: bool) -> Pixels:
    with Pillow.open(BytesIO(content), formats=_FORMATS) as source:
        tile = str(source.tile)
        if len(source.getbands()) > 1 and ";16" in tile:  # Pillow cuts colours of 16 bits to 8
            pixels = _by_opencv(content, None)
            return pixels[..., 0] if source.mode == "LA" else pixels
        source.load()
        spread = [step for bits, step in _GRAYS.items() if f"L{bits}" in tile]
        pixels = _pixels(source, stored=stored)
        return pixels // spread[0] if spread and stored else pixels


def _pixels(source: Pillow.Image, *, stored: bool) -> Pixels:
    image: Pillow.Image = source
    if source.mode == "1":
        image = source.convert("L")
    elif source.mode in ("LA", "La") or (source.mode == "PA" and stored):
        image = source.getchannel(0)
    elif source.mode not in _AS_STORED and not (source.mode == "P" and stored):
        image = source.convert("RGB")
    return np.asarray(image)


def _by_opencv(content: bytes, channels: int | None) -> Pixels:
    """Return gray or RGB; faster than Pillow, and of 16 bits where the file has them."""
    deep = content.startswith(_PNG_START) and content[_PNG_DEPTH] == 16
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS[None if deep else channels])
    if pixels is None:
        raise ValueError("it is damaged, or of a kind that is not read")
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2RGB)


def _with(pages: list[Pixels], channels: int | None) -> list[Pixels]:
    """Return the pages as gray (H, W) or as RGB (H, W, 3)."""
    return pages if channels is None else [_converted(page, channels) for page in pages]


def _converted(pixels: Pixels, channels: int) -> Pixels:
    there = 1 if pixels.ndim == 2 else pixels.shape[2]
    if there not in (1, 3):
        raise ValueError(f"it has {there} channels, which are neither gray nor RGB")
    if channels == there:
        return pixels.reshape(pixels.shape[:2]) if there == 1 else pixels
    if channels == 3:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.dtype in (np.uint8, np.uint16):
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    gray: Pixels = pixels @ np.array([0.299, 0.587, 0.114])
    return gray


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give the errors of the decoders one type, with the file's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            yield
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, cv2.error) as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}); restore the file, or take it out."
        ) from error
    except (Pillow.DecompressionBombError, MemoryError) as error:
        raise ValueError(
            f"{path} is too large ({error}); take it out, or cut it into parts."
        ) from error
