"""Tell lossy compressions from lossless ones."""

from typing import Final

JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_2000: Final = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # alone, and in a file
_CHUNKS: Final = 12  # where those of WebP begin
_STYLE, _WAVELET = b"\xff\x52", 13  # a marker of JPEG 2000; how far behind it the wavelet is named


def lossy_kind(content: bytes) -> str:
    """Return the kind of a lossy image or strip, such as ``a JPEG``, or an empty string.

    JPEG XL and JPEG XR count as lossless, since their headers do not tell.
    """
    if content.startswith(JPEG_START):
        return "a JPEG"
    if content.startswith(b"RIFF"):
        return "a lossy WebP" if b"VP8 " in _chunks(content) else ""
    if content.startswith(_JPEG_2000):
        place = content.find(_STYLE) + _WAVELET  # in the header, before any pixel
        return "a lossy JPEG 2000" if content[place : place + 1] == b"\0" else ""
    return ""


def _chunks(content: bytes) -> list[bytes]:
    place, kinds = _CHUNKS, []
    while place + 8 <= len(content):
        kinds.append(content[place : place + 4])
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return kinds
