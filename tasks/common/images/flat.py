"""Read PNG, TIFF, BMP, JPEG and WebP files."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image as Pillow

from backbones.errors import UserError
from tasks.common.images.decoded import Colours, FlatImage, Pixels
from tasks.common.images.lossy import JPEG_START, lossy_kind
from tasks.common.images.orientation import UPRIGHT, orientation_of
from tasks.common.images.tiff import STARTS, read_tiff

_FORMATS: Final = ("PNG", "BMP", "DIB", "JPEG", "WEBP")
_AS_STORED: Final = ("L", "RGB", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH: Final = 24  # where the bits of a sample stand
_PNG_KINDS: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_GRAYS: Final = {";2": 85, ";4": 17}  # Pillow spreads these bits over 8
_FLAGS: Final = {
    None: cv2.IMREAD_UNCHANGED,
    1: cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    3: cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
}


def read_flat(path: Path, *, stored: bool = False, channels: int | None = None) -> FlatImage:
    """Return the pages of a JPEG, PNG, TIFF, BMP or WebP file, whatever its suffix.

    Alpha channels are left out. Two levels become 0 and 255; palettes, CMYK and YCbCr become RGB;
    see `read_tiff` for TIFF. With ``stored`` the pages are the stored numbers, as masks need them:
    indices of palettes, nothing inverted, nothing scaled to 8 bits. With 3 ``channels`` gray
    becomes RGB, with 1 RGB becomes gray. A file that is damaged, truncated or of another kind is a
    ValueError; damage within a JPEG, WebP or BMP file, without check sums, may go unnoticed.
    """
    with _named(path):
        with path.open("rb") as file:
            start = file.read(4)
        if start in STARTS:
            found = read_tiff(path, stored=stored)
            return replace(found, pages=[with_channels(page, channels) for page in found.pages])
        content = path.read_bytes()
        _check_whole(content)
        orientation, lossy = orientation_of(content), lossy_kind(content)
        if channels is None:
            return replace(_by_pillow(content, stored=stored), orientation=orientation, lossy=lossy)
        pixels = with_channels(_by_opencv(content, channels), channels)
        return FlatImage(pages=[pixels], orientation=orientation, lossy=lossy)


def _check_whole(content: bytes) -> None:
    """Raise if a file is empty, a JPEG, PNG or WebP file truncated, or a PNG check sum wrong."""
    if content.startswith(JPEG_START):
        # The end marker of an EXIF thumbnail comes before the pixels.
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
    """Return whether a PNG file has its end; raise if the check sum of a needed chunk is wrong."""
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


def _by_pillow(content: bytes, *, stored: bool) -> FlatImage:
    with Pillow.open(BytesIO(content), formats=_FORMATS) as source:
        tile = str(source.tile)
        deep = len(source.getbands()) > 1 and ";16" in tile  # Pillow cuts such colours to 8 bits
        spread = [step for bits, step in _GRAYS.items() if f"L{bits}" in tile]
        source.load()
        if deep:
            pixels = _by_opencv(content, None)
            pixels = pixels[..., 0] if source.mode == "LA" else pixels
        else:
            pixels = pillow_pixels(source, stored=stored)
            pixels = pixels // spread[0] if spread and stored else pixels
        return FlatImage(
            pages=[pixels],
            orientation=UPRIGHT,
            palettes=_palettes(source) if stored else (),
            alphas=_alphas(source) if stored else (),
        )


def _palettes(source: Pillow.Image) -> tuple[Colours, ...]:
    """Return the palette with its alpha, (levels, 4), if there is one."""
    if source.format == "BMP" and source.mode == "1":  # its palette is black and white
        return (np.column_stack([*[np.arange(256, dtype=np.uint8)] * 3, [np.uint8(255)] * 256]),)
    if source.mode not in ("P", "PA"):
        return ()
    colours = np.array(source.getpalette("RGB"), np.uint8).reshape(-1, 3)
    alpha = np.full(len(colours), 255, np.uint8)
    clear = source.info.get("transparency", b"")
    if isinstance(clear, int):
        alpha[clear : clear + 1] = 0
    else:
        alpha[: len(clear)] = np.frombuffer(clear[: len(alpha)], np.uint8)
    return (np.column_stack([colours, alpha]),)


def _alphas(source: Pillow.Image) -> tuple[Pixels, ...]:
    if not source.mode.endswith(("A", "a")):
        return ()
    return (np.asarray(source.getchannel(source.getbands()[-1])),)


def pillow_pixels(source: Pillow.Image, *, stored: bool = False) -> Pixels:
    """Return the pixels of an open image: (H, W), or (H, W, 3) in RGB; see `read_flat`."""
    image: Pillow.Image = source
    if source.mode == "1":
        image = source.convert("L")
    elif source.mode in ("LA", "La") or (source.mode == "PA" and stored):
        image = source.getchannel(0)
    elif source.mode not in _AS_STORED and not (source.mode == "P" and stored):
        image = source.convert("RGB")
    return np.asarray(image)


def _by_opencv(content: bytes, channels: int | None) -> Pixels:
    """Return gray or RGB: faster than Pillow, and keeps 16 bits."""
    deep = content.startswith(_PNG_START) and content[_PNG_DEPTH] == 16
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS[None if deep else channels])
    if pixels is None:
        raise ValueError("it is damaged, or of a kind that is not read")
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2RGB)


def with_channels(pixels: Pixels, channels: int | None) -> Pixels:
    """Return (H, W) for 1 channel, (H, W, 3) for 3, and the pixels as they are for None."""
    if channels is None:
        return pixels
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
    """Turn every decoder's error into a ValueError with the file's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            yield
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, cv2.error) as error:
        raise UserError(
            f"{path} cannot be decoded ({error}); restore the file, or take it out."
        ) from error
    except (Pillow.DecompressionBombError, MemoryError) as error:
        raise UserError(
            f"{path} is too large ({error}); take it out, or cut it into parts."
        ) from error
