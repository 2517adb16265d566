"""Charts and tables of a detector's results, as blocks of a page."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from tasks.common.report.page.blocks import Cell, Line, LineChart, Mark, Matrix, Table
from tasks.detection.report.errors import ERRORS, Kind, Named
from tasks.detection.report.per_class import ClassRow
from tasks.detection.report.sizes import SizeRow
from tasks.detection.report.thresholds import Thresholds
from tasks.detection.scores.coco_eval import RECALLS, Evaluation
from tasks.detection.scores.coco_match import IOUS, Floats

_MOST_LINES: Final = 7  # classes in a chart of curves, beside their mean; as many as colours
_MOST_CLASSES: Final = 24  # in a confusion matrix
_POINTS: Final = 200
MEAN: Final = "mean of all classes"


def precision_recall(
    evaluation: Evaluation, classes: Sequence[str], *, iou: float
) -> LineChart | None:
    """Return precision at each recall, of every class with a true box, or of the seven worst.

    A point is the highest precision at this recall or a higher one, as COCO's AP has it, which is
    the mean of the 101 points. None if no class has a true box.
    """
    curves: Floats = evaluation.precision[int(np.abs(IOUS - iou).argmin()), :, :, 0]  # (R, K)
    known = [label for label in range(len(classes)) if curves[0, label] >= 0]
    if not known:
        return None
    shown = sorted(known, key=lambda label: float(curves[:, label].mean()))[:_MOST_LINES]
    named = {classes[label]: curves[:, label] for label in sorted(shown)}
    if len(known) > 1:
        named = {MEAN: curves[:, known].mean(1), **named}
    lines = [
        Line(name=f"{name} ({y.mean():.3f})", x=RECALLS.tolist(), y=y.tolist())
        for name, y in named.items()
    ]
    which = "" if len(shown) == len(known) else f", the {len(shown)} worst of {len(known)} classes"
    scores = "; ".join(line.name for line in lines)
    return LineChart(
        title=f"Precision and recall at IoU {iou:g}{which}",
        x_label="recall",
        y_label="precision",
        lines=lines,
        x_limits=(0, 1),
        y_limits=(0, 1),
        alt=f"Precision against recall; the area under each curve is AP at IoU {iou:g}: {scores}.",
    )


def threshold_chart(curve: Thresholds) -> LineChart:
    """Return precision, recall and F1 against the threshold, with the best F1 marked."""
    some = curve.thinned(_POINTS)
    x_values = some.scores[::-1].tolist()
    sides = {"precision": some.precision, "recall": some.recall, "F1": some.f1}
    marks, best = [], "nothing is right at any threshold"
    if curve.best is not None:
        x, y = curve.chosen, float(curve.f1[curve.best])
        best = f"the highest F1, {y:.3f}, is at {x:.3f}"
        marks = [Mark(x=x, y=y, text=f"best F1 {y:.3f} at {x:.3f}")]
    return LineChart(
        title="Score threshold against precision, recall and F1, at IoU 0.5",
        x_label="lowest score that counts",
        y_label="all boxes together",
        lines=[Line(name=name, x=x_values, y=y[::-1].tolist()) for name, y in sides.items()],
        marks=marks,
        x_limits=(0, 1),
        y_limits=(0, 1),
        alt=f"Precision, recall and F1 by the score threshold; {best}.",
    )


def score_table(rows: Sequence[ClassRow], *, limit: int) -> Table:
    """Return a row for each class: COCO's scores, what AP lacks to 1, its own best threshold."""
    lacks = ("lacks: placing", "lacks: wrong ones", "lacks: not found")
    cells: list[list[Cell]] = []
    for row in rows:
        scores = (row.ap, row.ap50, row.ap75, row.ar, row.misplaced, row.outranked, row.unreached)
        cells.append([row.name, row.boxes, *map(_cell, scores), row.best])
    return Table(
        title="Scores of each class",
        headings=[
            *("class", "true boxes", "AP", "AP50", "AP75", f"AR{limit}", *lacks),
            "best threshold",
        ],
        rows=cells,
        note=(
            "AP is the mean over IoU 0.5 to 0.95, AP50 and AP75 at one IoU, AR the highest recall. "
            "What AP lacks to 1 adds up: boxes that are right at IoU 0.5, but not placed closely "
            "enough for more; wrong detections with higher scores than right ones; true boxes "
            "found at no score. The best threshold is that of the class's own highest F1."
        ),
    )


def error_table(rows: Sequence[ClassRow], named: Named) -> Table:
    """Return a row for each class: what became of its boxes and its detections."""
    kinds = (Kind.FOUND, *ERRORS)
    return Table(
        title="Errors of each class",
        headings=["class", "true boxes", *(kind.text for kind in kinds)],
        rows=[[row.name, row.boxes, *(row.counts[kind] for kind in kinds)] for row in rows],
        note=(
            f"At IoU 0.5, with a score of at least {named.threshold:.3f}. Found: a box of "
            "its class overlaps the true box by 0.5 or more. Wrong class: so does a box of "
            "another class. Badly placed: a box of its class overlaps it by 0.1 to 0.5. Missed: "
            "none of these. Duplicate: a further box on an object that has one. False: any other "
            "box. Wrong class counts for the true class."
        ),
    )


def confusion_matrix(named: Named) -> Matrix:
    """Return what true boxes were taken for; classes beyond the 24 with most boxes are one."""
    table, names = named.confusion(), list(named.classes)
    if len(names) > _MOST_CLASSES:
        sums = table[:-1, :-1].sum(0) + table[:-1].sum(1)
        kept = np.sort(np.argsort(-sums, kind="stable")[: _MOST_CLASSES - 1])
        groups = np.full(len(table), len(kept))
        groups[kept], groups[-1] = np.arange(len(kept)), len(kept) + 1
        folded = np.zeros((len(kept) + 2, len(kept) + 2), table.dtype)
        np.add.at(folded, np.ix_(groups, groups), table)
        table, names = folded, [*(names[label] for label in kept), "other classes"]
    right, lost = int(np.trace(table[:-1, :-1])), int(table[:-1, -1].sum())
    return Matrix(
        title=f"What true boxes are taken for, with scores of at least {named.threshold:.3f}",
        rows=[*names, "nothing there"],
        columns=[*names, "not found"],
        values=table.tolist(),
        row_label="truth",
        column_label="found as",
        alt=(
            f"Confusion matrix: {right} boxes are found as what they are, {lost} are not found, "
            f"{int(table[:-1, :-1].sum()) - right} are taken for another class, and "
            f"{int(table[-1].sum())} detections are no true box."
        ),
    )


def size_table(rows: Sequence[SizeRow], *, title: str, heading: str, note: str = "") -> Table:
    """Return AP and AR of each range of sizes, with how many boxes are in it."""
    cells: list[list[Cell]] = [[row.name, row.boxes, _cell(row.ap), _cell(row.ar)] for row in rows]
    return Table(title=title, headings=[heading, "true boxes", "AP", "AR"], rows=cells, note=note)


def _cell(value: float) -> float | None:
    return None if math.isnan(value) else value
