"""The table of metrics of segmentation, scores of cases, and their summary over a data set.

What a structure scores that is not there on one side or on both:

=================  =========  ======================  =========================
score              both empty truth only (missed)     prediction only (false alarm)
=================  =========  ======================  =========================
dice, iou          NaN        0                       0
precision          NaN        0                       0
recall             NaN        0                       NaN
nsd                NaN        0                       0
hd95               NaN        diagonal of the image   diagonal of the image
volume_error       NaN        minus the true volume   the predicted volume
=================  =========  ======================  =========================

NaN is left out of every mean. A missed structure is never NaN where it has a score, so that it
cannot disappear from a mean; the diagonal is what the BraTS challenge uses. ``volume_error_abs`` is
``volume_error`` without its sign, whose mean does not let opposite errors cancel.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from backbones.errors import UserError
from tasks.common.report.metric import Metric
from tasks.common.report.run_folder import write_text
from tasks.segmentation.data.cases import IGNORE, ClassTable, Geometry, Labels
from tasks.segmentation.data.dataset import CaseSample
from tasks.segmentation.scores.surface import Distances, Mask, hd95, nsd, surface_distances

PIXELS: Final = ("truth_pixels", "predicted_pixels")
Scores = dict[str, dict[str, float]]
"""Of each scored class, its `METRICS` and `PIXELS`; or of each row of a summary, its numbers."""


class Pair:
    """A class in the prediction and the truth of a case: (D, H, W) or, of one slice, (H, W).

    ``found``, ``there`` and ``hits`` are the pixels of the prediction, the truth and both; spacing
    along each axis and tolerance are in ``unit``, ``mm`` or ``px``.
    """

    def __init__(
        self,
        prediction: Mask,
        truth: Mask,
        *,
        spacing: tuple[float, ...],
        unit: str,
        tolerance: float,
    ) -> None:
        self.masks = prediction, truth
        self.spacing, self.unit, self.tolerance = spacing, unit, tolerance
        self.found, self.there = int(prediction.sum()), int(truth.sum())
        self.hits = int((prediction & truth).sum())

    @cached_property
    def distances(self) -> tuple[Distances, Distances] | None:
        """Between the surfaces, both ways; None if one side is empty."""
        if not (self.found and self.there):
            return None
        return surface_distances(*self.masks, spacing=self.spacing)


def _recall(pair: Pair) -> float:
    return pair.hits / pair.there if pair.there else math.nan


def _hd95(pair: Pair) -> float:
    if pair.distances:
        return hd95(*pair.distances)
    sides = zip(pair.masks[1].shape, pair.spacing, strict=True)
    return math.hypot(*(size * step for size, step in sides))  # the diagonal of the image


def _nsd(pair: Pair) -> float:
    return nsd(*pair.distances, tolerance=pair.tolerance) if pair.distances else 0.0


def _volume_error(pair: Pair) -> float:
    """Return predicted minus true volume: in ml where the spacing is in mm, else in pixels."""
    pixel = math.prod(pair.spacing) / 1000 if pair.unit == "mm" else 1
    return (pair.found - pair.there) * pixel


@dataclass(frozen=True, kw_only=True)
class CaseMetric(Metric):
    """A score of a `Pair` not empty on both sides; ``surfaces`` if it needs the slow distances."""

    surfaces: bool = False


METRICS: Final = (
    CaseMetric("dice", lambda p: 2 * p.hits / (p.found + p.there), heading="Dice", shown="epoch"),
    CaseMetric("iou", lambda p: p.hits / (p.found + p.there - p.hits), heading="IoU"),
    CaseMetric("precision", lambda p: p.hits / max(p.found, 1), heading="precision", shown="curve"),
    CaseMetric("recall", _recall, heading="recall", shown="curve"),
    CaseMetric("hd95", _hd95, heading="HD95 {length}", best="lowest", surfaces=True),
    CaseMetric("nsd", _nsd, heading="NSD", surfaces=True),
    CaseMetric("volume_error", _volume_error, heading="volume error {volume}", best="zero"),
    CaseMetric(
        "volume_error_abs",
        lambda p: abs(_volume_error(p)),
        heading="|volume error| {volume}",
        best="lowest",
    ),
)
# Of the cases, by whether a class is in the truth and in the prediction.
COUNTS: Final = (
    Metric("n_cases", lambda there, found: True, heading="cases"),  # noqa: ARG005
    Metric("n_valid", lambda there, found: there or found, heading="scored"),
    Metric("n_truth", lambda there, found: there, heading="with it"),  # noqa: ARG005
    Metric("false_alarms", lambda there, found: found and not there, heading="false alarms"),
    Metric("missed", lambda there, found: there and not found, heading="missed"),
)
MISS_RATE: Final = Metric(
    "miss_rate",
    lambda counts: counts["missed"] / counts["n_truth"] if counts["n_truth"] else math.nan,
    heading="miss rate",
    best="lowest",
    shown="epoch",
)
LOGGED: Final = (*METRICS, MISS_RATE)  # what training logs of each class and of their mean


def case_scores(
    prediction: Labels,
    truth: Labels,
    classes: ClassTable,
    place: Geometry | CaseSample,
    *,
    tolerance: float,
    surfaces: bool = True,
) -> Scores:
    """Return the `METRICS` of one case for each scored class, and its `PIXELS`.

    Labels are (D, H, W), or (K, D, H, W) where classes do not exclude each other. Pixels that the
    truth leaves out (`IGNORE`) are in neither mask. A case of one slice is scored in two
    dimensions. ``place`` says the spacing; ``tolerance``, of ``nsd``, is in its unit. Without
    ``surfaces`` scores that need distances are left out.
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
        spacing = place.spacing[-ours.ndim :]
        pair = Pair(ours, theirs, spacing=spacing, unit=place.unit, tolerance=tolerance)
        empty = not (pair.found or pair.there)
        asked = [metric for metric in METRICS if surfaces or not metric.surfaces]
        row = {m.name: math.nan if empty else m.compute(pair) for m in asked}
        pixels = {"truth_pixels": pair.there, "predicted_pixels": pair.found}
        scores[classes.names[index]] = row | pixels
    return scores


def _masks(prediction: Labels, truth: Labels, index: int, *, exclusive: bool) -> tuple[Mask, Mask]:
    """Return a class in both, (D, H, W) or, of one slice, (H, W)."""
    if not exclusive:
        prediction, truth, index = prediction[index], truth[index], 1
    ours, theirs = (prediction == index) & (truth != IGNORE), truth == index
    return (ours[0], theirs[0]) if len(ours) == 1 else (ours, theirs)


def check_tolerance(tolerance: object) -> None:
    """Raise a ValueError unless the tolerance of the surface Dice is a distance above 0."""
    if not isinstance(tolerance, int | float) or not 0 < tolerance < math.inf:
        raise UserError(f"tolerance takes a distance above 0, got {tolerance!r}.")


def summarise(scores: Mapping[str, Scores], classes: ClassTable) -> Scores:
    """Return the means over cases of each scored class, and those of them all as ``mean``.

    A mean is without NaN. ``n_cases`` counts all cases, ``n_valid`` those with the class in truth
    or prediction, ``n_truth`` in truth, ``missed`` in truth only and ``false_alarms`` in the
    prediction only; ``miss_rate`` is missed / n_truth. In ``mean`` counts are sums over classes.
    """
    summary: Scores = {}
    for name in (classes.names[index] for index in classes.scored):
        rows = [case[name] for case in scores.values()]
        sides = [(row["truth_pixels"] > 0, row["predicted_pixels"] > 0) for row in rows]
        counts = {c.name: sum(c.compute(*side) for side in sides) for c in COUNTS}
        summary[name] = _means(rows) | counts | {MISS_RATE.name: MISS_RATE.compute(counts)}
    totals = {c.name: sum(row[c.name] for row in summary.values()) for c in COUNTS}
    means = _means(list(summary.values()))
    summary["mean"] = means | totals | {MISS_RATE.name: MISS_RATE.compute(totals)}
    return summary


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = [metric.name for metric in METRICS if any(metric.name in row for row in rows)]
    return {name: mean_known(row[name] for row in rows) for name in names}


def mean_known(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def headings(unit: str) -> list[str]:
    """Return the headings of the `METRICS` for images whose spacing has a unit."""
    volume = "ml" if unit == "mm" else unit
    return [metric.heading.format(length=unit, volume=volume) for metric in METRICS]


def write_case_scores(
    path: Path, scores: Mapping[str, Scores], *, patients: Mapping[str, str] | None = None
) -> None:
    """Write a CSV with a row for each case and class; an empty cell for NaN or not scored.

    With ``patients``, by the case's name, it has a column of them.
    """
    text = io.StringIO()
    about = ("case", "class") if patients is None else ("case", "patient", "class")
    columns = (*about, *(metric.name for metric in METRICS), *PIXELS)
    table = csv.DictWriter(text, fieldnames=columns, restval="", lineterminator="\n")
    table.writeheader()
    for case, rows in scores.items():
        whose = {} if patients is None else {"patient": patients[case]}
        for name, row in rows.items():
            known = {key: value for key, value in row.items() if not math.isnan(value)}
            table.writerow({"case": case, **whose, "class": name, **known})
    write_text(path, text.getvalue())
