"""What each class scores, which is worst, and what most of its errors are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tasks.detection.report.errors import ERRORS, Kind, Named
from tasks.detection.report.thresholds import thresholds
from tasks.detection.scores.coco_eval import Evaluation, Matched
from tasks.detection.scores.coco_match import Ints
from tasks.detection.scores.metrics import METRICS, mean_known

_SHOWN: Final = ("ap", "ap50", "ap75", "ar_{limit}")
_MEANING: Final = {
    Kind.WRONG_CLASS: "found, but taken for another class",
    Kind.BADLY_PLACED: "found, but the box overlaps the true one by less than 0.5",
    Kind.DUPLICATE: "further boxes on an object that is already found",
    Kind.FALSE: "boxes where no object is",
    Kind.MISSED: "objects that no box lies on",
}


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class: COCO's numbers, NaN where it has no true box, and its errors at the threshold."""

    name: str
    label: int  # from 0
    ap: float
    ap50: float
    ap75: float
    ar: float
    counts: dict[Kind, int]

    @property
    def boxes(self) -> int:
        """How many there are to be found."""
        there = (Kind.FOUND, Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.MISSED)
        return sum(self.counts[kind] for kind in there)

    @property
    def errors(self) -> int:
        """How many of all kinds."""
        return sum(self.counts[kind] for kind in ERRORS)


def class_rows(evaluation: Evaluation, named: Named) -> list[ClassRow]:
    """Return the classes in the order of their labels."""
    tables = [metric.compute(evaluation) for metric in METRICS if metric.name in _SHOWN]
    counts, rows = named.counts(), []
    for label, name in enumerate(named.classes):
        ap, ap50, ap75, ar = (mean_known(table[..., label]) for table in tables)
        of_kinds = {kind: int(counts[label, kind]) for kind in Kind}
        scores = {"ap": ap, "ap50": ap50, "ap75": ap75, "ar": ar}
        rows.append(ClassRow(name=name, label=label, counts=of_kinds, **scores))
    return rows


def worst_class(rows: Sequence[ClassRow]) -> ClassRow | None:
    """Return the class of the lowest AP, of equals the one with more boxes; None without boxes."""
    known = [row for row in rows if not math.isnan(row.ap)]
    return min(known, key=lambda row: (row.ap, -row.boxes)) if known else None


def why_worst(rows: Sequence[ClassRow], named: Named, matched: Matched) -> list[str]:
    """Return sentences on which class is worst, and on its most frequent error."""
    worst = worst_class(rows)
    if worst is None:
        return ["No class has a box in the truth, so there is no AP."]
    others = [row.ap for row in rows if row is not worst and not math.isnan(row.ap)]
    lead = f"{worst.name!r} has the lowest AP, {worst.ap:.3f}"
    if others:
        lead += f"; the mean of the others is {sum(others) / len(others):.3f}."
    elif len(rows) == 1:
        lead = f"There is one class, {worst.name!r}, with AP {worst.ap:.3f}."
    else:
        lead += "; no other class has a box in the truth."
    at = f"with a score of at least {named.threshold:.3f}"
    if not worst.errors:
        return [f"{lead} It has no error at IoU 0.5 {at}.", _placing(worst)]
    kind = max(ERRORS, key=lambda kind: worst.counts[kind])
    count, share = worst.counts[kind], worst.counts[kind] / worst.errors
    text = (
        f"Why: of its {worst.errors} errors at IoU 0.5, {at}, {count} ({share:.0%}) are "
        f"{kind.text}: {_MEANING[kind]}."
    )
    return [lead, text + _more(kind, worst, named, matched), _placing(worst)]


def _more(kind: Kind, row: ClassRow, named: Named, matched: Matched) -> str:
    """Return what else is known of the most frequent error, if anything is."""
    if kind is Kind.WRONG_CLASS:
        taken: Ints = named.confusion()[row.label, :-1]
        taken[row.label] = 0
        other = int(taken.argmax())
        return f" Most often it is taken for {named.classes[other]!r} ({taken[other]})."
    if kind is Kind.MISSED:
        curve = thresholds(matched, label=row.label)
        most = float(curve.recall[-1]) if len(curve.recall) else 0.0
        now = row.counts[Kind.FOUND] / row.boxes
        return f" {now:.0%} of its boxes are found; with every lower score {most:.0%} would be."
    return ""


def _placing(row: ClassRow) -> str:
    return (
        f"How well its boxes are placed: AP is {row.ap50:.3f} at IoU 0.5 and {row.ap75:.3f} at "
        "IoU 0.75."
    )
