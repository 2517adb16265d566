"""Palettes of mask files: whether an index has the same colour in all of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from tifffile import TiffFile, TiffPage

from tasks.common.tiff import STARTS

Palette = tuple[str, ...]
"""The colour of each index as ``#rrggbb``."""


def palette_of(path: Path) -> Palette:
    """Return the palette of a PNG, BMP or TIFF file; nothing if it has none.

    Args:
        path: A flat image that can be decoded.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start in STARTS:
        with TiffFile(path) as source:
            page = source.pages.first
            table = page.colormap if isinstance(page, TiffPage) else None
        if table is None:
            return ()
        colours = np.asarray(table).T
        if colours.max(initial=0) > 255:  # else some tools write 8 bits into the 16
            colours = colours // 257
        return tuple("#{:02x}{:02x}{:02x}".format(*map(int, colour)) for colour in colours)
    with Pillow.open(path) as image:
        flat = (image.getpalette("RGB") or []) if image.mode in ("P", "PA") else []
    channels = [iter(flat)] * 3
    return tuple("#{:02x}{:02x}{:02x}".format(*c) for c in zip(*channels, strict=True))


class Palettes:
    """Compares the palettes of mask files, of which the indices are read and not the colours."""

    def __init__(self) -> None:
        self._colours: dict[int, tuple[str, Path]] = {}
        self._indices: dict[str, tuple[int, Path, Palette]] = {}

    def add(self, path: Path, palette: Palette, used: Iterable[int]) -> None:
        """Compare a file with those before it.

        Args:
            path: Of the file.
            palette: Of `palette_of`.
            used: The indices that occur.

        Raises:
            ValueError: If an index has another colour in a file before, or a colour another index;
                with both files, the index and the colours.
        """
        for index in (index for index in used if 0 <= index < len(palette)):
            colour = palette[index]
            other, first = self._colours.setdefault(index, (colour, path))
            if other != colour:
                raise ValueError(
                    f"the palettes of two masks differ: index {index} is {colour} in {path}, but "
                    f"{other} in {first}; expected one table of colours for all masks. Save them "
                    "with the same palette, or as gray with one number per class."
                )
            place, first, table = self._indices.setdefault(colour, (index, path, palette))
            twice = {index, place} <= {i for i, c in enumerate(palette) if c == colour} and (
                index < len(table) and table[index] == colour
            )
            if place != index and not twice:
                raise ValueError(
                    f"the palettes of two masks differ: the colour {colour} is index {index} in "
                    f"{path}, but index {place} in {first}; expected one table of colours for all "
                    "masks. Save them with the same palette, or as gray with one number per class."
                )
