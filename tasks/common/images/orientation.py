"""Which way up an image is: the orientation that EXIF notes, and what is done about it."""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from backbones.choose import choose
from tasks.common.report.advice import advice

Exif = Literal["apply", "refuse", "ignore"]
"""What becomes of an image that is to be shown turned; see `turned`."""

UPRIGHT: Final = 1
TAG: Final = 274  # of the orientation, in EXIF and in TIFF
_POLICIES: Final = {"apply": None, "refuse": None, "ignore": None}
# What a file holds that notes an orientation; "Raw profile" is what ImageMagick writes in PNG.
_MARKS: Final = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation", b"XML:com.adobe.xmp")
_MARKED: Final = re.compile(b"|".join((*_MARKS, b"Raw profile type ")))
DONE: Final = {
    "apply": "they are turned upright, boxes and masks lie on the upright image (data.exif=apply)",
    "ignore": "they are used as stored, boxes and masks lie on the stored pixels "
    "(data.exif=ignore)",
}
"""What was done about them, for the banner."""


def exif_advice() -> str:
    """Return what to do about images that are to be shown turned."""
    option = advice("data.exif", otherwise="--exif")
    return (
        f"Give {option}=apply if boxes or masks were drawn on the upright image (CVAT, labelme, "
        f"Label Studio and whatever runs in a browser), {option}=ignore if on the pixels as they "
        "are stored; docs/data.md names more tools. Or save the images upright."
    )


class TurnedError(ValueError):
    """An image is to be shown turned, and nobody said whether that holds.

    Attributes:
        path: Of the file.
        orientation: From 2 to 8.
    """

    def __init__(self, path: Path, orientation: int) -> None:
        self.path, self.orientation = path, orientation
        super().__init__(
            f"{path} is to be shown turned (EXIF orientation {orientation}), and tools differ in "
            f"whether they do so. {exif_advice()}"
        )


def check_exif(policy: str) -> None:
    """Raise ValueError unless ``policy`` is one of `Exif`."""
    choose(_POLICIES, policy, what="exif")


def orientation_of(content: bytes) -> int:
    """Return the EXIF orientation of a JPEG, PNG or WebP file, 1 to 8; 1 is upright.

    XMP's counts where EXIF has none, as in Pillow. What is no orientation, such as 0, is upright.

    Args:
        content: Of the file.
    """
    if not _MARKED.search(content):
        return UPRIGHT
    try:
        with Pillow.open(BytesIO(content)) as image:
            return valid(image.getexif().get(TAG, UPRIGHT))
    except Exception:  # of damaged EXIF anything; the pixels are judged elsewhere
        return UPRIGHT


def valid(orientation: Any) -> int:  # noqa: ANN401 - whatever a file holds
    """Return an orientation from 1 to 8; upright in place of what is none."""
    if isinstance(orientation, tuple) and len(orientation) == 1:
        (orientation,) = orientation
    known = isinstance(orientation, int) and 1 <= orientation <= 8
    return int(orientation) if known else UPRIGHT


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return an image as it is to be shown.

    Args:
        pixels: (H, W) or (H, W, C), as stored.
        orientation: From 1 to 8, as EXIF counts; 5 to 8 exchange height and width.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return what `upright` makes ``pixels`` of: its inverse."""
    return upright(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def turned(
    pages: Sequence[NDArray[Any]], orientation: int, *, exif: str, path: Path
) -> list[NDArray[Any]]:
    """Return the pages of a file as they are to be used.

    Args:
        pages: (H, W) or (H, W, C) each, as stored.
        orientation: From 1 to 8.
        exif: ``apply`` turns them upright; ``ignore`` leaves them as stored; ``refuse`` raises
            unless they are upright.
        path: Of the file, for the message.

    Raises:
        TurnedError: With ``refuse``, if they are not upright.
        ValueError: If ``exif`` is none of the three.
    """
    check_exif(exif)
    if orientation == UPRIGHT or exif == "ignore":
        return list(pages)
    if exif == "refuse":
        raise TurnedError(path, orientation)
    return [upright(page, orientation) for page in pages]


def turned_note(orientation: int, *, exif: str) -> str:
    """Return what was done about the orientation of a file, for the end of a line about it."""
    if orientation == UPRIGHT:
        return ""
    done = "turned upright" if exif == "apply" else "used as stored"
    return f"; {done} (EXIF orientation {orientation})"
