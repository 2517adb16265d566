"""The cases with the lowest Dice, each with the slice that is most wrong, as a test goes on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.segmentation.data.cases import IGNORE, Labels
from tasks.segmentation.scores.metrics import Scores, mean_known

MOST: Final = 12  # cases that are kept
SIDE: Final = 1024  # most pixels of a side that are kept
_STEP: Final = 64  # pixels between the parts of a large slice that are tried


@dataclass(frozen=True, kw_only=True, eq=False)
class WrongSlice:
    """The slice ``index`` of a case that has most wrong pixels; of a large one a part."""

    dice: float  # of the case, the mean over the scored classes it has
    index: int
    corner: tuple[int, int]  # the row and the column where the part begins
    size: tuple[int, int]  # rows and columns of the whole slice
    truth: Labels  # (h, w), or (K, h, w) where classes overlap
    prediction: Labels


Worst = dict[str, WrongSlice]
"""At most `MOST` cases by their names, the lowest Dice first."""


def mean_dice(scores: Scores) -> float:
    """Return the mean Dice of a case over its classes; NaN if none is there or found."""
    return mean_known(row["dice"] for row in scores.values())


def with_case(worst: Worst, name: str, scores: Scores, found: Labels, truth: Labels) -> Worst:
    """Return ``worst`` with a case that was scored, if it belongs there; labels as in a case.

    A case without any error is left out, and one without a Dice.
    """
    dice = mean_dice(scores)
    if math.isnan(dice) or dice == 1:
        return worst
    if len(worst) == MOST and dice >= max(one.dice for one in worst.values()):
        return worst
    return worst_of({**worst, name: _wrong_slice(found, truth, dice)})


def worst_of(cases: Mapping[str, WrongSlice]) -> Worst:
    """Return the cases of the lowest Dice; equals by their names."""
    ordered = sorted(cases.items(), key=lambda item: (item[1].dice, item[0]))
    return dict(ordered[:MOST])


def _wrong_slice(found: Labels, truth: Labels, dice: float) -> WrongSlice:
    wrong = (found != truth) & (truth != IGNORE)
    if wrong.ndim == 4:
        wrong = wrong.any(0)  # [D,H,W]
    index = int(wrong.sum(axis=(1, 2)).argmax())
    y, x = _corner(wrong[index])
    part = (..., slice(y, y + SIDE), slice(x, x + SIDE))
    labels = (np.ascontiguousarray(side[..., index, :, :][part]) for side in (truth, found))
    there, prediction = labels
    return WrongSlice(
        dice=dice,
        index=index,
        corner=(y, x),
        size=(wrong.shape[1], wrong.shape[2]),
        truth=there,
        prediction=prediction,
    )


def _corner(wrong: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where the part of a slice (H, W) begins that has most wrong pixels."""
    sums: NDArray[Any] = np.pad(wrong.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    most = [max(0, side - SIDE) for side in wrong.shape]
    rows, columns = (np.unique([*range(0, last, _STEP), last]) for last in most)
    bottom = np.minimum(rows + SIDE, wrong.shape[0])
    right = np.minimum(columns + SIDE, wrong.shape[1])
    inside = (
        sums[np.ix_(bottom, right)]
        - sums[np.ix_(rows, right)]
        - sums[np.ix_(bottom, columns)]
        + sums[np.ix_(rows, columns)]
    )
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(rows[y]), int(columns[x])
