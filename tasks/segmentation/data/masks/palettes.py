"""Palettes of mask files: whether an index has the same colour in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final

import numpy as np

from backbones.errors import UserError
from tasks.common.images.decoded import Colours, FlatImage
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import ClassTable

Palette = tuple[str, ...]
"""The colour of each index: ``#rrggbb``, and ``#rrggbb00`` where it is wholly transparent."""

_CLEAR: Final = "00"


@dataclass(frozen=True, kw_only=True)
class UsedPalette:
    """A palette at a place (a file, or a page of it), and the sorted indices that occur with it."""

    place: str
    palette: Palette
    indices: tuple[int, ...]


def palettes_of(path: Path, flat: FlatImage) -> tuple[UsedPalette, ...]:
    """Return the palettes of a mask file and the indices used with each; none without a palette."""
    several = len(flat.palettes) == len(flat.pages) > 1
    found: dict[Palette, UsedPalette] = {}
    for number, colours in enumerate(flat.palettes):
        palette = _palette(colours)
        pages = [flat.pages[number]] if several else flat.pages
        used = {int(value) for page in pages for value in np.unique(page)}
        place = f"{path}, page {number + 1}" if found else str(path)
        first = found.setdefault(palette, UsedPalette(place=place, palette=palette, indices=()))
        found[palette] = replace(first, indices=tuple(sorted(used.union(first.indices))))
    return tuple(found.values())


def _palette(colours: Colours) -> Palette:
    return tuple(
        f"#{red:02x}{green:02x}{blue:02x}{_CLEAR if alpha == 0 else ''}"
        for red, green, blue, alpha in colours.tolist()
    )


def compare_all_palettes(
    cases: Sequence[Sequence[Sequence[UsedPalette]]], classes: ClassTable
) -> None:
    """Raise ValueError if the palettes of mask files, of each case, differ; see `compare_palettes`.

    Files of one class are compared, where classes have files of their own.
    """
    for masks in zip_longest(*cases, fillvalue=()):
        compare_palettes(masks, any_but_0=classes.own_files and classes.threshold is None)


def compare_palettes(masks: Sequence[Sequence[UsedPalette]], *, any_but_0: bool = False) -> None:
    """Raise ValueError unless an index has one colour, and a colour one index, in all mask files.

    Only indices that occur count; a palette may have a colour twice. ``any_but_0`` means that all
    indices but 0 are the same class.
    """
    colours: dict[int, tuple[str, UsedPalette]] = {}
    indices: dict[str, tuple[int, UsedPalette]] = {}
    for used in chain.from_iterable(masks):
        for index in (index for index in used.indices if 0 <= index < len(used.palette)):
            colour = used.palette[index]
            other, first = colours.setdefault(index, (colour, used))
            if not _same(colour, other) and (index == 0 or not any_but_0):
                raise _differ(f"index {index} is {colour} in", used, f"{other} in", first)
            place, first = indices.setdefault(colour[:7], (index, used))
            counts = place != index and (not any_but_0 or 0 in (place, index))
            if counts and not (_has(first, index, colour) or _has(used, place, colour)):
                here = f"the colour {colour} is index {index} in"
                raise _differ(here, used, f"index {place} in", first)


def _same(colour: str, other: str) -> bool:
    """Return whether two colours look alike: transparent ones do, whatever is below."""
    return colour[:7] == other[:7] or colour[7:] == other[7:] == _CLEAR


def _has(used: UsedPalette, index: int, colour: str) -> bool:
    return index < len(used.palette) and _same(used.palette[index], colour)


def _differ(here: str, used: UsedPalette, there: str, first: UsedPalette) -> UserError:
    colours = (
        ' Or tell the classes by colour: data.classes=\'{background: "#000000", cell: "#ff0000"}\'.'
    )
    return UserError(
        f"the palettes of two masks differ: {here} {used.place}, but {there} {first.place}; "
        "expected one table of colours for all masks. Save them with the same palette, or as gray "
        f"with one number per class.{advice(colours)}"
    )
