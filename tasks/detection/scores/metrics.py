"""The table of metrics of detection, its scores of detections, and how many of these it needs."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

from tasks.common.report.metric import Metric
from tasks.detection.options import USUAL_LIMIT
from tasks.detection.scores.coco_eval import Evaluation, evaluate
from tasks.detection.scores.coco_match import Floats

Result = dict[str, Any]
"""One detection as COCO's results format has it: image_id, category_id, bbox (xywh), score."""

_ALL: Final = "all classes"
_SMALL: Final = "boxes under 32 x 32 px"
_MEDIUM: Final = "boxes up to 96 x 96 px"
_LARGE: Final = "larger boxes"


@dataclass(frozen=True, kw_only=True)
class CocoMetric(Metric):
    """A mean over a part of COCO's evaluation, (..., K), shown in ``row`` of the printed table.

    ``per_class`` says whether there is one of each class too, ``name/<class>``.
    """

    row: str = _ALL
    per_class: bool = False


def _precision(*, area: int = 0, iou: int | None = None) -> Callable[[Evaluation], Floats]:
    ious = slice(None) if iou is None else iou
    return lambda found: found.precision[ious, ..., area]


def _recall(*, area: int = 0, limit: int = 2) -> Callable[[Evaluation], Floats]:
    return lambda found: found.recall[..., area, limit]


# COCO's twelve numbers, in pycocotools's order; indices as of `AREAS`, `IOUS` and the limits.
METRICS: Final = (
    CocoMetric("ap", _precision(), heading="AP", shown="epoch", per_class=True),
    CocoMetric("ap50", _precision(iou=0), heading="AP50", shown="epoch", per_class=True),
    CocoMetric("ap75", _precision(iou=5), shown="curve"),
    CocoMetric("ap_small", _precision(area=1), heading="AP", row=_SMALL, shown="curve"),
    CocoMetric("ap_medium", _precision(area=2), heading="AP", row=_MEDIUM, shown="curve"),
    CocoMetric("ap_large", _precision(area=3), heading="AP", row=_LARGE, shown="curve"),
    CocoMetric("ar_1", _recall(limit=0)),
    CocoMetric("ar_10", _recall(limit=1)),
    CocoMetric("ar_{limit}", _recall(), heading="AR", per_class=True),
    CocoMetric("ar_small", _recall(area=1), heading="AR", row=_SMALL),
    CocoMetric("ar_medium", _recall(area=2), heading="AR", row=_MEDIUM),
    CocoMetric("ar_large", _recall(area=3), heading="AR", row=_LARGE),
)


def to_results(
    prediction: Mapping[str, Tensor], *, image_id: int, category_ids: Sequence[int]
) -> list[Result]:
    """Return detections of an image in COCO's format; ``category_ids`` are of the labels from 1."""
    boxes = prediction["boxes"].float().cpu()
    sizes = boxes[:, 2:] - boxes[:, :2]  # (B, 2)
    xywh = np.round(np.concatenate([boxes[:, :2], sizes], axis=1).astype(float), 3).tolist()
    ids = [category_ids[label - 1] for label in prediction["labels"].tolist()]
    scores = [round(score, 5) for score in prediction["scores"].float().tolist()]
    return [
        {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        for category, box, score in zip(ids, xywh, scores, strict=True)
    ]


def coco_ap(
    truth: Mapping[str, Any], results: Sequence[Result], *, limit: int = USUAL_LIMIT
) -> dict[str, float]:
    """Return the `METRICS` by name: COCO's twelve statistics, and those that each class has too.

    Boxes are in pixels of the original image. Detections inside crowd regions count neither way. A
    statistic that has nothing to measure, such as ``ap_small`` without small boxes, is NaN
    (pycocotools says -1); others are from 0 to 1. AP is the mean over IoU thresholds 0.50 to 0.95,
    over 101 recall levels. ``limit`` detections of a class count in an image, those of the highest
    scores; the recall is called ``ar_100`` with 100, COCO's limit, ``ar_300`` with 300. The numbers
    are pycocotools's; see `tasks.detection.scores.coco_eval`.
    """
    evaluation = evaluate(truth, results, limit=limit)
    known = {category["id"]: category["name"] for category in truth["categories"]}
    values = {m.name.format(limit=limit): (m, m.compute(evaluation)) for m in METRICS}
    scores = {name: mean_known(of_all) for name, (_, of_all) in values.items()}
    for index, category_id in enumerate(evaluation.category_ids):
        for name, (metric, of_all) in values.items():
            if metric.per_class:
                scores[f"{name}/{known[category_id]}"] = mean_known(of_all[..., index])
    return scores


def mean_known(values: Floats) -> float:
    """Return the mean of what could be measured, NaN if nothing could."""
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan


def score_table(
    scores: Mapping[str, float], classes: Sequence[str], *, limit: int
) -> tuple[list[str], dict[str, list[float]]]:
    """Return the headings of the printed table of scores, and its rows by their labels."""
    printed = [metric for metric in METRICS if metric.heading]
    columns = list(dict.fromkeys(metric.heading for metric in printed))
    labels = dict.fromkeys([_ALL, *classes, *(metric.row for metric in printed)])
    rows = {label: [math.nan] * len(columns) for label in labels}
    for metric in printed:
        name, column = metric.name.format(limit=limit), columns.index(metric.heading)
        rows[metric.row][column] = scores[name]
        for of_class in classes if metric.per_class else ():
            rows[of_class][column] = scores[f"{name}/{of_class}"]
    return columns, rows


def crowded(
    truth: Mapping[str, Any], *, found: int, remedy: str = "model.detections_per_image="
) -> str:
    """Return a sentence if images have more boxes than the ``found`` a detector returns, or "".

    ``remedy`` is the option that raises it.
    """
    over = [count for count in _boxes(truth, "image_id").values() if count > found]
    if not over:
        return ""
    return (
        f"{len(over)} of {len(truth['images'])} images have more boxes (up to {max(over)}) than "
        f"the {found} that are found in an image at most, so their recall cannot reach 1; set "
        f"{remedy}{max(over)}"
    )


def needed(truth: Mapping[str, Any]) -> int:
    """Return how many detections of a class in an image must count, at least COCO's 100."""
    return max([USUAL_LIMIT, *_boxes(truth, "image_id", "category_id").values()])


def _boxes(truth: Mapping[str, Any], *keys: str) -> Counter[tuple[Any, ...]]:
    """Return how many boxes share these values, without crowd regions."""
    entries = (entry for entry in truth["annotations"] if not entry["iscrowd"])
    return Counter(tuple(entry[key] for key in keys) for entry in entries)
