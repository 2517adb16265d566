"""Boxes around the outlines of objects, for COCO files that have outlines and no boxes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.options.limits import is_number
from tasks.detection.data.raw_annotations import Box

_SHAPE: Final = "polygons [[x1, y1, x2, y2, ...], ...] or RLE {'size': [h, w], 'counts': ...}"


class Outline(NamedTuple):
    """A box (x, y, width, height in pixels), and the area of RLE's pixels or within polygons."""

    bbox: Box
    area: float


def outline(segmentation: object, *, height: int, width: int) -> Outline | None:
    """Return the box of COCO's ``segmentation``, polygons or run lengths; None where it is empty.

    One polygon may stand without the outer list, and points may be pairs.

    >>> outline([[2, 1, 6, 1, 6, 4]], height=10, width=10)
    Outline(bbox=(2.0, 1.0, 4.0, 3.0), area=6.0)
    """
    if segmentation in (None, [], {}, ""):
        return None
    if isinstance(segmentation, Mapping):
        return _of_runs(segmentation, height=height, width=width)
    if not isinstance(segmentation, list):
        raise UserError(f"segmentation is {_short(segmentation)}; expected {_SHAPE}.")
    polygons = [polygon for polygon in _polygons(segmentation) if len(polygon)]
    if not polygons:
        return None
    points = np.concatenate(polygons)  # [P,2]
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Outline((left, top, right - left, bottom - top), sum(map(_area, polygons)))


def _polygons(value: Sequence[Any]) -> list[NDArray[np.float64]]:
    """Return (P, 2) for each polygon of lists that may be nested more or less than COCO's are."""
    if all(isinstance(item, list) for item in value):
        if value and all(len(item) == 2 and all(map(is_number, item)) for item in value):
            return [np.array(value, np.float64)]
        return [polygon for item in value for polygon in _polygons(item)]
    if not all(map(is_number, value)) or len(value) % 2:
        raise UserError(
            f"segmentation has a polygon {_short(value)}; expected an even number of numbers "
            "[x1, y1, x2, y2, ...]."
        )
    return [np.array(value, np.float64).reshape(-1, 2)]


def _area(polygon: NDArray[np.float64]) -> float:
    """Return the area between corners by the shoelace formula."""
    x, y = (polygon - polygon[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _of_runs(segmentation: Mapping[str, Any], *, height: int, width: int) -> Outline:
    """Return the box of run lengths, which go down each column and begin outside."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise UserError(
            f"segmentation has RLE of size {size!r}; expected [height, width] of its image, "
            f"[{height}, {width}]."
        )
    runs = _runs(counts) if isinstance(counts, str) else counts
    if (
        not isinstance(runs, list)
        or not all(isinstance(run, int) and run >= 0 for run in runs)
        or sum(runs) != height * width
    ):
        raise UserError(
            f"segmentation has RLE whose counts are {_short(counts)}; expected whole numbers that "
            f"add up to {height * width} pixels, as a list or as COCO's text."
        )
    is_inside = np.arange(len(runs)) % 2 == 1
    mask = np.repeat(is_inside, runs).reshape(width, height)
    columns, rows = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Outline((0.0, 0.0, 0.0, 0.0), 0.0)
    sides = float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1
    return Outline((float(columns[0]), float(rows[0]), *sides), float(mask.sum()))


def _runs(text: str) -> list[int]:
    """Return the run lengths of COCO's text, or nothing if it is malformed.

    Numbers have 5 bits a letter, the lowest first; each from the third on adds the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return [] if shift else runs


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
