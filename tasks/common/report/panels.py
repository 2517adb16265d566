"""What pictures of both tasks share: colours of classes, text, panels on a sheet, the file."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from backbones.errors import UserError
from tasks.common.files.atomic import replacing

Image8 = NDArray[np.uint8]
Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

# Okabe & Ito 2008 without black: distinct with every common kind of colour blindness.
OKABE_ITO: Final = ("e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7")
INK: Final[Color] = (20, 20, 20)
PAPER: Final[Color] = (255, 255, 255)
GAP: Final = 16  # pixels between panels
LINE: Final = 24  # pixels of a line of text
TITLE: Final = 56  # pixels of the title with its surroundings
_GRAY: Final = 128  # seen beside light and dark pictures, on light and dark pages
_PICTURE_SIDE: Final = 640  # least pixels of a picture's longer side


class Panel(NamedTuple):
    """A picture (H, W, 3) on a sheet, and the text above it."""

    title: str
    picture: Image8


def class_color(index: int) -> Color:
    """Return the RGB colour of a class, of which 0 is the first.

    The first 7 are the palette of Okabe and Ito, the next 7 the same mixed with white, then with
    black; from 21 on colours repeat.

    >>> class_color(0), class_color(7), class_color(21) == class_color(0)
    ((230, 159, 0), (243, 207, 128), True)
    """
    target, share = ((0, 0.0), (255, 0.5), (0, 0.4))[index // 7 % 3]
    base = bytes.fromhex(OKABE_ITO[index % 7])
    red, green, blue = (int(value + share * (target - value) + 0.5) for value in base)
    return red, green, blue


def enlargement(height: int, width: int) -> int:
    """Return the whole factor that brings an image's longer side to 640 pixels or more.

    >>> enlargement(128, 112), enlargement(480, 640)
    (5, 1)
    """
    return max(1, -(-_PICTURE_SIDE // max(height, width)))


def resized(image: Image8, scale: float) -> Image8:
    """Return an image (H, W, 3) or (H, W) as (scale * H, scale * W, 3), a copy."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(image, (width, height), interpolation=smooth)
    return np.array(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, 2), np.uint8)


@lru_cache(maxsize=32)
def font(size: int) -> Font:
    """Return the font of all pictures, which has most scripts' letters."""
    from matplotlib import get_data_path

    path = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


def shortened(text: str, width: int, face: Font) -> str:
    """Return the text, or the end of it behind dots if it is wider than ``width`` pixels."""
    while face.getlength(text) > width and len(text) > 4:
        text = f"...{text[4:]}"
    return text


def sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    side: int,
    title: str = "",
    legend: Mapping[str, Color] | None = None,
) -> Image.Image:
    """Return rows of panels in columns of equal width, with a title above and a legend below."""
    if not rows:
        raise UserError("samples is empty; expected at least 1; pass some of a split's images.")
    width = max(map(len, rows)) * (side + GAP) + GAP
    heights = [_text(row) + max(len(panel.picture) for panel in row) + GAP for row in rows]
    names = _placed(legend or {}, width)
    below = (names[-1][2] + 2) * LINE if names else 0
    top = TITLE if title else GAP
    canvas = Image.new("RGB", (width, top + sum(heights) + below), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, 14), title, fill=INK, font=font(22))
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = GAP + column * (side + GAP)
            draw.text((left, top), shortened(panel.title, side, font(16)), fill=INK, font=font(16))
            canvas.paste(Image.fromarray(panel.picture), (left, top + _text(row)))
        top += height
    for name, left, line in names:
        y = top + line * LINE
        draw.rectangle((left, y + 2, left + 15, y + 17), fill=(legend or {})[name], outline=INK)
        text = shortened(name, width - left - 2 * GAP, font(16))
        draw.text((left + 22, y), text, fill=INK, font=font(16))
    return canvas


def beside(pictures: Sequence[Image8]) -> Image8:
    """Return pictures (H, W, 3) from left to right, with gray between them and below lower ones."""
    height = max(len(picture) for picture in pictures)
    parts: list[Image8] = []
    for picture in pictures:
        low = np.full((height - len(picture), picture.shape[1], 3), _GRAY, np.uint8)
        gap = np.full((height, GAP // 2, 3), _GRAY, np.uint8)
        parts += [gap, np.concatenate([picture, low])]
    return np.concatenate(parts[1:], axis=1)


def save_picture(picture: Image.Image | Image8, path: Path) -> None:
    """Write a .png or .jpg, which appears complete or not at all; its folder is made."""
    whole = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with replacing(path) as partial:
        whole.save(partial)


def _text(row: Sequence[Panel]) -> int:
    return LINE if any(panel.title for panel in row) else 0


def _placed(legend: Mapping[str, Color], width: int) -> list[tuple[str, int, int]]:
    """Return where each name goes: its left edge, and which line."""
    places, left, line = [], GAP, 0
    for name in legend:
        need = int(font(16).getlength(name)) + 22 + GAP
        if left > GAP and left + need > width:
            left, line = GAP, line + 1
        places.append((name, left, line))
        left += need
    return places
