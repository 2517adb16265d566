"""What each class scores, which is worst, what its AP lacks, and what most of its errors are.

AP is the mean precision over IoU thresholds and recall levels. So it lacks three parts to 1, which
add up: AP50 - AP, because boxes found at IoU 0.5 are not placed closely enough for higher ones; at
IoU 0.5 the share of recall levels that are not reached, because boxes are found at no score; and
what precision lacks to 1 at the others, because wrong detections have higher scores.
"""

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
_SEEN: Final = 0.0005  # what three digits show
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
    unreached: float  # what AP50 lacks because boxes are found at no score
    outranked: float  # what AP50 lacks because wrong detections score higher
    best: float | None  # the threshold of its own highest F1; None if nothing is right
    best_recall: float  # with this threshold
    counts: dict[Kind, int]

    @property
    def misplaced(self) -> float:
        """What AP lacks because boxes are not placed closely enough."""
        return self.ap50 - self.ap

    @property
    def boxes(self) -> int:
        """How many there are to be found."""
        there = (Kind.FOUND, Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.MISSED)
        return sum(self.counts[kind] for kind in there)

    @property
    def errors(self) -> int:
        """How many of all kinds."""
        return sum(self.counts[kind] for kind in ERRORS)


def class_rows(evaluation: Evaluation, matched: Matched, named: Named) -> list[ClassRow]:
    """Return the classes in the order of their labels."""
    tables = [metric.compute(evaluation) for metric in METRICS if metric.name in _SHOWN]
    counts, rows = named.counts(), []
    for label, name in enumerate(named.classes):
        ap, ap50, ap75, ar = (mean_known(table[..., label]) for table in tables)
        levels = evaluation.precision[0, :, label, 0]  # at each recall level, 0 if not reached
        unreached = float((levels == 0).mean()) if levels[0] >= 0 else math.nan
        curve = thresholds(matched, label=label)
        row = ClassRow(
            name=name,
            label=label,
            ap=ap,
            ap50=ap50,
            ap75=ap75,
            ar=ar,
            unreached=unreached,
            outranked=1 - ap50 - unreached,
            best=None if curve.best is None else curve.chosen,
            best_recall=0.0 if curve.best is None else float(curve.recall[curve.best]),
            counts={kind: int(counts[label, kind]) for kind in Kind},
        )
        rows.append(row)
    return rows


def worst_class(rows: Sequence[ClassRow]) -> ClassRow | None:
    """Return the class of the lowest AP, of equals the one with more boxes; None without boxes."""
    known = [row for row in rows if not math.isnan(row.ap)]
    return min(known, key=lambda row: (row.ap, -row.boxes)) if known else None


def why_worst(rows: Sequence[ClassRow], named: Named) -> list[str]:
    """Return sentences on which class is worst, what its AP lacks, and its most frequent error."""
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
    return [lead, _lacks(worst), _errors(worst, named)]


def _lacks(row: ClassRow) -> str:
    parts = {
        f"its boxes are not placed closely enough (AP is {row.ap50:.3f} at IoU 0.5 and "
        f"{row.ap75:.3f} at IoU 0.75)": row.misplaced,
        "boxes are found at no score": row.unreached,
        "wrong detections have higher scores than right ones": row.outranked,
    }
    seen = sorted((text for text, part in parts.items() if part >= _SEEN), key=lambda t: -parts[t])
    if not seen:
        return "That is as good as it can be."
    reasons = "; ".join(f"{parts[text]:.3f} because {text}" for text in seen)
    return f"Why: AP lacks {1 - row.ap:.3f} to 1: {reasons}."


def _errors(row: ClassRow, named: Named) -> str:
    at = f"With a score of at least {named.threshold:.3f}"
    if not row.errors:
        return f"{at} it has no error at IoU 0.5."
    kind = max(ERRORS, key=lambda kind: row.counts[kind])
    count, share = row.counts[kind], row.counts[kind] / row.errors
    return (
        f"{at} it has {row.errors} errors at IoU 0.5; {count} of them ({share:.0%}) are "
        f"{kind.text}: {_MEANING[kind]}.{_more(kind, row, named)}"
    )


def _more(kind: Kind, row: ClassRow, named: Named) -> str:
    """Return what else is known of the most frequent error, if anything is."""
    if kind is Kind.WRONG_CLASS:
        taken: Ints = named.confusion()[row.label, :-1]
        taken[row.label] = 0
        other = int(taken.argmax())
        return f" Most often it is taken for {named.classes[other]!r} ({taken[other]})."
    if kind is Kind.MISSED:
        recall = row.counts[Kind.FOUND] / row.boxes
        now = f" {recall:.0%} of its boxes are found"
        if row.best is None or row.best_recall <= recall:
            return f"{now}."
        return f"{now}; with {row.best:.3f}, its own best threshold, {row.best_recall:.0%} are."
    return ""
