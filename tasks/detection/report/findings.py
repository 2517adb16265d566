"""All numbers of a detector's report, from the truth and the detections of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.detection.report.errors import Named, name_errors
from tasks.detection.report.per_class import ClassRow, class_rows
from tasks.detection.report.sizes import SizeRow, share_rows, size_rows
from tasks.detection.report.thresholds import Thresholds, thresholds
from tasks.detection.scores.coco_eval import Evaluation, Matched, accumulate, match
from tasks.detection.scores.metrics import Result


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What `find` found; errors are named at the threshold of the highest F1."""

    evaluation: Evaluation
    matched: Matched
    thresholds: Thresholds
    named: Named
    classes: Sequence[ClassRow]
    sizes: Sequence[SizeRow]
    shares: Sequence[SizeRow]
    limit: int  # detections of a class that count in an image


def find(truth: Mapping[str, Any], results: Sequence[Result], *, limit: int) -> Findings:
    """Return what there is to say of detections; ``truth`` and ``limit`` as of `coco_ap`."""
    matched = match(truth, results, limit=limit)
    evaluation = accumulate(matched, limit=limit)
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    classes = [names[number] for number in matched.category_ids]
    curve = thresholds(matched)
    named = name_errors(matched, threshold=curve.chosen, classes=classes)
    return Findings(
        evaluation=evaluation,
        matched=matched,
        thresholds=curve,
        named=named,
        classes=class_rows(evaluation, matched, named),
        sizes=size_rows(evaluation, matched),
        shares=share_rows(truth, results, limit=limit),
        limit=limit,
    )
