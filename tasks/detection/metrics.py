"""COCO average precision, overall and per class, by pycocotools."""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

_STATISTICS: Final = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar_1",
    "ar_10",
    "ar_100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
"""pycocotools' twelve numbers, in its order."""

Result = dict[str, Any]
"""One detection as COCO's results format has it: image_id, category_id, bbox (xywh), score."""


def to_results(
    prediction: Mapping[str, Tensor], *, image_id: int, category_ids: Sequence[int]
) -> list[Result]:
    """Return a detector's output for one image in COCO's results format.

    Args:
        prediction: ``boxes`` (B, 4) xyxy in pixels, ``labels`` (B,) in 1..K, ``scores`` (B,).
        image_id: The image's id in its data set.
        category_ids: The data set's id of each label.
    """
    boxes = prediction["boxes"].float().cpu()
    sizes = boxes[:, 2:] - boxes[:, :2]  # (B, 2)
    xywh = np.round(np.concatenate([boxes[:, :2], sizes], axis=1).astype(float), 3).tolist()
    labels, scores = prediction["labels"].tolist(), prediction["scores"].float().tolist()
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label - 1],
            "bbox": box,
            "score": round(score, 5),
        }
        for box, label, score in zip(xywh, labels, scores, strict=True)
    ]


def coco_ap(truth: Mapping[str, Any], results: Sequence[Result]) -> dict[str, float]:
    """Return COCO's twelve statistics, and AP and AP50 of each class.

    Crowd regions are ignored as COCO does: a detection inside one counts neither way. A statistic
    that has nothing to measure, such as ``ap_small`` without small boxes, is NaN (pycocotools
    says -1). AP is the mean over IoU thresholds 0.50 to 0.95, over 101 recall levels.

    Source: Lin et al., arXiv:1405.0312, and pycocotools, which does the counting.

    Args:
        truth: A COCO dictionary; see `tasks.detection.annotations.Annotations.truth`.
        results: Detections in COCO's results format, boxes in pixels of the original image.

    Returns:
        ``ap``, ``ap50``, ... and ``ap/<class>``, ``ap50/<class>``, each in [0, 1] or NaN.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        # Copies, because it writes into what it is given.
        coco.dataset = {**truth, "annotations": [dict(entry) for entry in truth["annotations"]]}
        coco.createIndex()
        found = coco.loadRes([dict(one) for one in results]) if results else _nothing(truth)
        evaluation = COCOeval(coco, found, iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = dict(zip(_STATISTICS, map(_or_nan, evaluation.stats), strict=True))
    precision = evaluation.eval["precision"]  # (IoU, recall, class, area, detections)
    names = {category["id"]: category["name"] for category in truth["categories"]}
    for index, category_id in enumerate(evaluation.params.catIds):
        of_class = precision[:, :, index, 0, -1]
        scores[f"ap/{names[category_id]}"] = _mean(of_class)
        scores[f"ap50/{names[category_id]}"] = _mean(of_class[0])
    return scores


def _nothing(truth: Mapping[str, Any]) -> COCO:
    """Return results without a detection, which pycocotools' ``loadRes`` cannot make."""
    coco = COCO()
    coco.dataset = {**truth, "annotations": []}
    coco.createIndex()
    return coco


def _or_nan(value: float) -> float:
    return math.nan if value < 0 else float(value)


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else math.nan
