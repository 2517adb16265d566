"""What the reader of flat images finds in a file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Colours = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class FlatImage:
    """What a file holds.

    Attributes:
        pages: (H, W) or (H, W, C) each, as they are stored: nothing is turned. Several of TIFF.
        orientation: Which way up they are to be shown, 1 to 8; see
            `tasks.common.images.orientation`.
        palettes: Where the stored numbers were asked for and are indices, the colours of each page,
            (levels, 4) of 8 bits: red, green, blue, alpha. Empty for files without a palette.
        alphas: Where the stored numbers were asked for, the alpha channel of each page, (H, W);
            empty for files without.
        min_is_white: Whether the smallest number is to be shown white (TIFF's MinIsWhite).
        lossy: What it is, such as ``a JPEG``, if its compression changes numbers; else empty.
    """

    pages: list[Pixels]
    orientation: int
    palettes: tuple[Colours, ...] = ()
    alphas: tuple[Pixels, ...] = ()
    min_is_white: bool = False
    lossy: str = ""
