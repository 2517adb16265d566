"""What an image file holds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Colours = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class FlatImage:
    """The pixels of an image file, and what belongs to them."""

    pages: list[Pixels]  # (H, W) or (H, W, C) each, not rotated. Only TIFF files have several.
    orientation: int  # the EXIF orientation, 1 to 8
    palettes: tuple[Colours, ...] = ()  # with ``stored``: (levels, 4), RGB and alpha
    alphas: tuple[Pixels, ...] = ()  # with ``stored``: (H, W) of each page that has it
    min_is_white: bool = False  # whether the smallest number means white (TIFF's MinIsWhite)
    lossy: str = ""  # the kind of file, such as ``a JPEG``, if its compression is lossy; else empty
