"""Scores of cases, class by class, and their summary over a data set.

What a structure scores that is not there on one side or on both:

=================  =========  ======================  =========================
score              both empty truth only (missed)     prediction only (false alarm)
=================  =========  ======================  =========================
dice, iou          NaN        0                       0
precision          NaN        0                       0
recall             NaN        0                       NaN
nsd                NaN        0                       0
hd95               NaN        diagonal of the image   diagonal of the image
=================  =========  ======================  =========================

NaN is left out of every mean. A missed structure is never NaN where it has a score, so that it
cannot disappear from a mean; the diagonal is what the BraTS challenge uses.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tasks.common.report.run_folder import write_text
from tasks.segmentation.data.cases import IGNORE, ClassTable, Labels
from tasks.segmentation.scores.surface import Mask, hd95, nsd, surface_distances

METRICS: Final = ("dice", "iou", "precision", "recall", "hd95", "nsd")
PIXELS: Final = ("truth_pixels", "predicted_pixels")
COUNTS: Final = ("n_cases", "n_valid", "n_truth", "missed", "false_alarms")

Scores = dict[str, dict[str, float]]
"""Of each scored class, its `METRICS` and `PIXELS`; or of each row of a summary, its numbers."""


def case_scores(
    prediction: Labels,
    truth: Labels,
    classes: ClassTable,
    *,
    spacing: tuple[float, float, float],
    tolerance: float,
    surfaces: bool = True,
) -> Scores:
    """Return the scores of one case for each scored class.

    Pixels that the truth leaves out (`IGNORE`) are in neither mask. A case of one slice is scored
    in two dimensions.

    Args:
        prediction: (D, H, W), or (K, D, H, W) where classes do not exclude each other.
        truth: Of the same shape.
        classes: The K classes.
        spacing: Between slices, rows and columns; ``hd95`` has its unit.
        tolerance: Of ``nsd``, in the unit of the spacing.
        surfaces: Whether to score ``hd95`` and ``nsd``, which take most of the time; left out
            otherwise.

    Returns:
        By class: ``dice``, ``iou``, ``precision``, ``recall`` and ``nsd`` from 0 to 1 or NaN,
        ``hd95``, ``truth_pixels`` and ``predicted_pixels``.

    Raises:
        ValueError: If the labels are not of one shape, or have no axis for classes that need it.
    """
    layers = () if classes.exclusive else (len(classes.names),)
    if not prediction.shape == truth.shape == (*layers, *truth.shape[-3:]) or truth.ndim < 3:
        raise ValueError(
            f"got a prediction {prediction.shape} and truth {truth.shape}; expected two of one "
            f"shape ({''.join(f'{layer}, ' for layer in layers)}D, H, W)."
        )
    scores: Scores = {}
    for index in classes.scored:
        ours, theirs = _masks(prediction, truth, index, exclusive=classes.exclusive)
        row = _overlap(ours, theirs)
        if surfaces:
            row |= _surface(ours, theirs, spacing[-ours.ndim :], tolerance)
        scores[classes.names[index]] = row
    return scores


def _masks(prediction: Labels, truth: Labels, index: int, *, exclusive: bool) -> tuple[Mask, Mask]:
    """Return a class in both, (D, H, W) or, of one slice, (H, W)."""
    if not exclusive:
        prediction, truth, index = prediction[index], truth[index], 1
    ours, theirs = (prediction == index) & (truth != IGNORE), truth == index
    return (ours[0], theirs[0]) if len(ours) == 1 else (ours, theirs)


def _overlap(prediction: Mask, truth: Mask) -> dict[str, float]:
    predicted, there = int(prediction.sum()), int(truth.sum())
    hits = int((prediction & truth).sum())
    either = predicted + there - hits
    return {
        "truth_pixels": there,
        "predicted_pixels": predicted,
        "dice": 2 * hits / (predicted + there) if either else math.nan,
        "iou": hits / either if either else math.nan,
        # Nothing predicted where there is something is a precision of 0, not none.
        "precision": hits / max(predicted, 1) if either else math.nan,
        "recall": hits / there if there else math.nan,
    }


def _surface(
    prediction: Mask, truth: Mask, spacing: Sequence[float], tolerance: float
) -> dict[str, float]:
    if prediction.any() and truth.any():
        ways = surface_distances(prediction, truth, spacing=spacing)
        return {"hd95": hd95(*ways), "nsd": nsd(*ways, tolerance=tolerance)}
    if not (prediction.any() or truth.any()):
        return {"hd95": math.nan, "nsd": math.nan}
    diagonal = math.hypot(*(size * step for size, step in zip(truth.shape, spacing, strict=True)))
    return {"hd95": diagonal, "nsd": 0.0}


def check_tolerance(tolerance: object) -> None:
    """Raise unless the tolerance of the surface Dice is a distance above 0.

    Raises:
        ValueError: If not.
    """
    if not isinstance(tolerance, int | float) or not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance takes a distance above 0, got {tolerance!r}.")


def summarise(scores: Mapping[str, Scores], classes: ClassTable) -> Scores:
    """Return the means over cases of each scored class, and those of them all as ``mean``.

    Args:
        scores: By case, as `case_scores` returns them.
        classes: Of the cases.

    Returns:
        By class: the mean of each metric over the cases where it is not NaN (NaN if there are
        none), and how many cases there are (``n_cases``), have the class in truth or prediction
        (``n_valid``), have it in truth (``n_truth``), have it in truth only (``missed``), have it
        in the prediction only (``false_alarms``), and ``miss_rate``, missed / n_truth.

        In ``mean``: the mean over classes of these means, without NaN; counts are sums over
        classes, and ``miss_rate`` is made of them.
    """
    summary: Scores = {}
    for name in (classes.names[index] for index in classes.scored):
        rows = [case[name] for case in scores.values()]
        summary[name] = _means(rows) | _miss_rate(_counts(rows))
    counts = {count: sum(row[count] for row in summary.values()) for count in COUNTS}
    summary["mean"] = _means(list(summary.values())) | _miss_rate(counts)
    return summary


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = [name for name in METRICS if any(name in row for row in rows)]
    return {name: _mean(row[name] for row in rows) for name in names}


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _counts(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    sides = [(row["truth_pixels"] > 0, row["predicted_pixels"] > 0) for row in rows]
    return {
        "n_cases": len(sides),
        "n_valid": sum(there or predicted for there, predicted in sides),
        "n_truth": sum(there for there, _ in sides),
        "missed": sum(there and not predicted for there, predicted in sides),
        "false_alarms": sum(predicted and not there for there, predicted in sides),
    }


def _miss_rate(counts: dict[str, float]) -> dict[str, float]:
    rate = counts["missed"] / counts["n_truth"] if counts["n_truth"] else math.nan
    return counts | {"miss_rate": rate}


def write_case_scores(path: Path, scores: Mapping[str, Scores]) -> None:
    """Write a CSV with a row for each case and class, at once or not at all.

    What is NaN or was not scored is an empty cell.

    Args:
        path: The file; its folder is made.
        scores: By case, as `case_scores` returns them.
    """
    text = io.StringIO()
    table = csv.DictWriter(
        text, fieldnames=("case", "class", *METRICS, *PIXELS), restval="", lineterminator="\n"
    )
    table.writeheader()
    for case, rows in scores.items():
        for name, row in rows.items():
            known = {key: value for key, value in row.items() if not math.isnan(value)}
            table.writerow({"case": case, "class": name, **known})
    write_text(path, text.getvalue())
