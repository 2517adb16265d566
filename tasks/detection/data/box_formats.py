"""Judge from all boxes of a split whether they are in the format that their layout asks for."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError

Stored = Literal["xywh", "xyxy"]
_Boxes = NDArray[np.float64]
_SLACK: Final = 0.02  # of an image's side, and a pixel: how far a careless box reaches out
_UNIT_SLACK: Final = 0.05
_FEW: Final = 0.1  # of the boxes outside
_FEWER: Final = 0.02  # the same for centres, which leave the image at its edges only
_MOST: Final = 0.5
_ALL: Final = 0.99  # a stray box does not speak against a format
_MANY: Final = 10  # boxes, from which a rule without exception is no accident
_CORNER: Final = 0.55  # of the images' sides that no box reaches beyond

# What makes the corners x1, y1, x2, y2 of the four numbers of each format: a row per corner.
_FORMATS: Final[Mapping[str, _Boxes]] = {
    name: np.array(rows, np.float64)
    for name, rows in {
        "[x, y, width, height]": [(1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)],
        "[x1, y1, x2, y2]": np.eye(4),
        "[centre x, centre y, width, height]": [
            *((1, 0, -0.5, 0), (0, 1, 0, -0.5), (1, 0, 0.5, 0), (0, 1, 0, 0.5)),
        ],
        "[y, x, height, width]": [(0, 1, 0, 0), (1, 0, 0, 0), (0, 1, 0, 1), (1, 0, 1, 0)],
        "[y1, x1, y2, x2]": np.eye(4)[[1, 0, 3, 2]],
        "[x1, x2, y1, y2]": np.eye(4)[[0, 2, 1, 3]],
    }.items()
}
_DECLARED: Final[Mapping[str, str]] = {"xywh": "[x, y, width, height]", "xyxy": "[x1, y1, x2, y2]"}


def judge(numbers: NDArray[Any], sizes: NDArray[Any], *, stored: Stored) -> list[str]:
    """Return warnings for boxes of a split that look wrong; UserError if most or all do.

    ``numbers`` are (B, 4) as the file has them, in the format ``stored`` that the layout asks for;
    ``sizes`` are (B, 2), width and height of each box's image. A box fits if it reaches at most 2 %
    of the side and a pixel over its image. Boxes that are not finite or are empty are not judged.
    """
    boxes, sizes = _judged(numbers, sizes, stored)
    if not len(boxes):
        return []
    declared = _DECLARED[stored]
    notes = _refuse_shares(boxes, sizes, declared)
    corners = (boxes @ _FORMATS[declared].T).reshape(-1, 2, 2)
    spread = np.sort(corners, axis=1).reshape(-1, 4)  # [B,4]
    outside = ~_inside(spread, sizes)
    odd = outside | _mixed_order(boxes) if stored == "xyxy" else outside
    other = _other_reading(boxes, sizes, declared) if odd.any() else None
    if other:
        text = (
            f"{odd.sum()} of {len(boxes)} boxes fit no image as {declared}, such as "
            f"{_shown(boxes, sizes, odd)}, while they fit as {other}"
        )
        least = _FEWER if "centre" in other else _FEW
        if odd.mean() > _MOST or (odd.sum() > 1 and odd.mean() >= least):
            raise UserError(f"{text}; expected {declared} in pixels. Convert the boxes.")
        notes.append(text)
    if outside.sum() > 2 and outside.mean() >= _MOST:
        reach = spread[:, 2:].max(axis=0)
        raise UserError(
            f"{outside.sum()} of {len(boxes)} boxes reach far out of their images, such as "
            f"{_shown(boxes, sizes, outside)}; they reach to x = {reach[0]:g}, y = {reach[1]:g}, "
            "as if drawn in images of another size. Expected pixels of the images as they are: "
            "scale the boxes."
        )
    return [*notes, *_suspicions(spread, sizes, outside)]


def _judged(
    numbers: NDArray[Any], sizes: NDArray[Any], stored: Stored
) -> tuple[_Boxes, NDArray[np.float64]]:
    """Return the boxes that say something, with the sizes of their images."""
    boxes = np.asarray(numbers, np.float64).reshape(-1, 4)
    with np.errstate(all="ignore"):
        extent = boxes[:, 2:] - boxes[:, :2] if stored == "xyxy" else boxes[:, 2:]  # [B,2]
        kept = np.isfinite(boxes).all(axis=1) & (extent != 0).all(axis=1)
    return boxes[kept], np.asarray(sizes, np.float64).reshape(-1, 2)[kept]


def _refuse_shares(boxes: _Boxes, sizes: NDArray[np.float64], declared: str) -> list[str]:
    """Raise if most boxes are shares of the image, and say so if some may be."""
    low, high = -_UNIT_SLACK, 1 + _UNIT_SLACK
    unit = np.all((boxes >= low) & (boxes <= high), axis=1) & np.all(sizes > 8, axis=1)  # [B]
    if not unit.any():
        return []
    example = _shown(boxes, sizes, unit)
    whole = (boxes[unit] == boxes[unit].round()).all()
    if unit.mean() < _MOST or (whole and unit.sum() < _MANY):
        return [f"{unit.sum()} of {len(boxes)} boxes lie within 0..1, such as {example}"]
    raise UserError(
        f"{unit.sum()} of {len(boxes)} boxes lie within 0..1, such as {example}: they are shares "
        f"of the image, as YOLO's are; expected {declared} in pixels. Multiply them by the width "
        "and the height of their images."
    )


def _inside(xyxy: _Boxes, sizes: NDArray[np.float64]) -> NDArray[Any]:
    """Return which boxes lie in their image, but for the slack."""
    slack = sizes * _SLACK + 1  # [B,2]
    low, high = xyxy[:, :2] >= -slack, xyxy[:, 2:] <= sizes + slack
    return np.asarray(np.all(low & high, axis=1))


def _mixed_order(boxes: _Boxes) -> NDArray[Any]:
    """Return which boxes have a last corner before the first, unless a tool writes all boxes so."""
    turned = boxes[:, 2:] < boxes[:, :2]  # [B,2]
    odd = np.asarray(np.any(turned, axis=1))
    if len(boxes) < _MANY or odd.mean() < _MOST / 2 or turned.all():
        return np.zeros(len(boxes), dtype=bool)
    return odd


def _other_reading(boxes: _Boxes, sizes: NDArray[np.float64], declared: str) -> str | None:
    for name, rows in _FORMATS.items():
        xyxy = boxes @ rows.T
        ordered = (xyxy[:, :2] < xyxy[:, 2:]).all(axis=1)
        if name != declared and (ordered & _inside(xyxy, sizes)).mean() >= _ALL:
            return name
    return None


def _suspicions(xyxy: _Boxes, sizes: NDArray[np.float64], outside: NDArray[Any]) -> list[str]:
    found = []
    if outside.sum() > 1 and outside.mean() >= _FEW:
        found.append(
            f"{outside.sum()} of {len(xyxy)} boxes reach far out of their images: were they drawn "
            "in images of another size?"
        )
    reach = (xyxy[:, 2:] / sizes).max(axis=0)
    if len(xyxy) >= _MANY and (reach < _CORNER).all():
        found.append(
            f"all {len(xyxy)} boxes lie in the upper left {reach[0]:.0%} x {reach[1]:.0%} of their "
            "images: were they drawn in smaller images, or are they in per cent?"
        )
    return found


def _shown(boxes: _Boxes, sizes: NDArray[np.float64], which: NDArray[Any]) -> str:
    first = int(which.argmax())
    numbers = ", ".join(f"{value:g}" for value in boxes[first])
    return f"[{numbers}] in an image of {sizes[first, 0]:g}x{sizes[first, 1]:g}"
