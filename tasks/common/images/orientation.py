"""The EXIF orientation of images, and whether it is applied."""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from backbones.choose import choose
from backbones.errors import UserError
from tasks.common.report.advice import advice

Exif = Literal["apply", "refuse", "ignore"]  # what to do with rotated images; see `oriented`

UPRIGHT: Final = 1
TAG: Final = 274  # of the orientation, in EXIF and in TIFF
# What a file with an orientation contains; ImageMagick writes "Raw profile" into PNG.
_MARKS: Final = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation", b"XML:com.adobe.xmp")
_MARKED: Final = re.compile(b"|".join((*_MARKS, b"Raw profile type ")))
DONE: Final = {
    "apply": "they are turned upright, boxes and masks lie on the upright image (data.exif=apply)",
    "ignore": "they are used as stored, boxes and masks lie on the stored pixels "
    "(data.exif=ignore)",
}
"""What was done with rotated images, for the banner."""


def exif_advice() -> str:
    """Return what a user can do about images with an orientation."""
    option = advice("data.exif", otherwise="--exif", python="exif")
    return (
        f"Give {option}=apply if boxes or masks were drawn on the upright image (CVAT, labelme, "
        f"Label Studio and whatever runs in a browser), {option}=ignore if on the pixels as they "
        "are stored; docs/data.md names more tools. Or save the images upright."
    )


class RotatedError(UserError):
    """An image has an EXIF orientation from 2 to 8, and the user has not chosen what to do."""

    def __init__(self, path: Path, orientation: int) -> None:
        self.path, self.orientation = path, orientation
        super().__init__(
            f"{path} is rotated by its EXIF orientation, {orientation}, which some tools apply "
            f"and some ignore. {exif_advice()}"
        )


def check_exif(policy: str) -> None:
    """Raise UserError unless ``policy`` is one of `Exif`."""
    choose(dict.fromkeys(get_args(Exif)), policy, what="exif")


def orientation_of(content: bytes) -> int:
    """Return a JPEG, PNG or WebP file's orientation by EXIF or else XMP; 1 if out of range."""
    if not _MARKED.search(content):
        return UPRIGHT
    try:
        with Pillow.open(BytesIO(content)) as image:
            return valid(image.getexif().get(TAG, UPRIGHT))
    except Exception:  # damaged EXIF raises anything; the pixels are checked elsewhere
        return UPRIGHT


def valid(orientation: Any) -> int:  # noqa: ANN401 - whatever a file holds
    """Return an orientation from 1 to 8, and 1 for anything else."""
    if isinstance(orientation, tuple) and len(orientation) == 1:
        (orientation,) = orientation
    known = isinstance(orientation, int) and 1 <= orientation <= 8
    return int(orientation) if known else UPRIGHT


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation to (H, W) or (H, W, C); 5 to 8 exchange height and width."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `upright`."""
    return upright(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def oriented(
    pages: Sequence[NDArray[Any]], orientation: int, *, exif: str, path: Path
) -> list[NDArray[Any]]:
    """Return the pages, (H, W) or (H, W, C) each, of a file whose orientation is 1 to 8.

    ``exif``: ``apply`` rotates them; ``ignore`` leaves them; ``refuse`` raises RotatedError unless
    the orientation is 1.
    """
    check_exif(exif)
    if orientation == UPRIGHT or exif == "ignore":
        return list(pages)
    if exif == "refuse":
        raise RotatedError(path, orientation)
    return [upright(page, orientation) for page in pages]


def orientation_note(orientation: int, *, exif: str) -> str:
    """Return what was done about an orientation, to append to a line about the file."""
    if orientation == UPRIGHT:
        return ""
    done = "turned upright" if exif == "apply" else "used as stored"
    return f"; {done} (EXIF orientation {orientation})"
