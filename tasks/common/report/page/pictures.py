"""Galleries: pictures inside the page, small enough to send it by mail."""

import base64
import io
import math
from typing import Final

from PIL import Image

from tasks.common.report.page.blocks import Gallery, Picture
from tasks.common.report.page.markup import Markup, element, joined
from tasks.common.report.panels import Image8

LARGEST: Final = 640_000  # pixels of a picture, at most: 1000 x 640
BUDGET: Final = 3_000_000  # bytes of all pictures of a page, about; base64 adds a third
_LEAST: Final = 50_000  # pixels of a picture, however many there are
_BYTES: Final = 0.25  # of a pixel, about, as WebP of this quality
_QUALITY: Final = 82
_WIDE: Final = 1.8  # width by height; such pictures, often pairs, get more room


def pixels_for(count: int) -> int:
    """Return how many pixels each of ``count`` pictures of a page may have.

    >>> pixels_for(4), pixels_for(48), pixels_for(10_000)
    (640000, 250000, 50000)
    """
    return max(_LEAST, min(LARGEST, int(BUDGET / _BYTES / max(1, count))))


def gallery(block: Gallery, pixels: int) -> Markup:
    """Return pictures of at most so many pixels each; ``page.js`` lets a click enlarge them."""
    legend = (
        element(
            "li",
            {},
            element("i", {"style": f"background:rgb{(*map(int, color),)}"}),
            element("span", {}, name),
        )
        for name, color in block.legend.items()
    )
    shapes = [picture.image.shape for picture in block.pictures]
    wide = any(width > _WIDE * height for height, width, _ in shapes)
    shots = (_shot(picture, pixels) for picture in block.pictures)
    return element(
        "div",
        {"class": "gallery", "role": "group", "aria-label": block.title},
        element("h3", {}, block.title),
        element("p", {"class": "note"}, block.note) if block.note else "",
        element("ul", {"class": "colors"}, *legend) if block.legend else "",
        element("div", {"class": "shots wide" if wide else "shots"}, *shots),
    )


def _shot(picture: Picture, pixels: int) -> Markup:
    address, width, height = data_address(picture.image, pixels)
    image: dict[str, str | int] = {"src": address, "width": width, "height": height}
    more = (badge for badge in picture.badges if badge not in picture.caption)
    badges = joined(element("span", {"class": "badge"}, badge) for badge in more)
    return element(
        "figure",
        {"class": "shot"},
        element(
            "button",
            {"type": "button", "aria-label": f"Enlarge: {picture.caption}"},
            element("img", {**image, "alt": picture.alt}),
        ),
        element("figcaption", {}, element("span", {}, picture.caption), badges),
    )


def data_address(image: Image8, pixels: int) -> tuple[str, int, int]:
    """Return an RGB image (H, W, 3) of at most ``pixels`` as a data URL, and its width and height.

    A larger one is made smaller.
    """
    picture = Image.fromarray(image)
    scale = math.sqrt(pixels / (picture.width * picture.height))
    if scale < 1:
        width, height = (max(1, int(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=4)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/webp;base64,{text}", picture.width, picture.height
