"""COCO average precision, overall and per class."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tasks.detection.options import USUAL_LIMIT
from tasks.detection.scores.coco_eval import Evaluation, evaluate
from tasks.detection.scores.coco_match import Floats

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


def coco_ap(
    truth: Mapping[str, Any], results: Sequence[Result], *, limit: int = USUAL_LIMIT
) -> dict[str, float]:
    """Return COCO's twelve statistics, and AP and AP50 of each class.

    Crowd regions are ignored as COCO does: a detection inside one counts neither way. A statistic
    that has nothing to measure, such as ``ap_small`` without small boxes, is NaN (pycocotools
    says -1). AP is the mean over IoU thresholds 0.50 to 0.95, over 101 recall levels.

    Every number has the bits of pycocotools's, except where an annotation has the id 0, which
    pycocotools takes for "no match" (see `tasks.detection.scores.coco_eval`).

    Source: Lin et al., arXiv:1405.0312, through `tasks.detection.scores.coco_eval.evaluate`.

    Args:
        truth: A COCO dictionary; see `tasks.detection.data.annotations.Annotations.truth`.
        results: Detections in COCO's results format, boxes in pixels of the original image.
        limit: How many detections of a class count in an image, those of the highest scores. COCO
            counts 100; a detector that returns more is judged by all of them.

    Returns:
        ``ap``, ``ap50``, ... and ``ap/<class>``, ``ap50/<class>``, each in [0, 1] or NaN; the
        recall with ``limit`` detections is called ``ar_100`` with 100, ``ar_300`` with 300.
    """
    evaluation = evaluate(truth, results, limit=limit)
    scores = {name: _mean(values) for name, values in _statistics(evaluation).items()}
    names = {category["id"]: category["name"] for category in truth["categories"]}
    for index, category_id in enumerate(evaluation.category_ids):
        precision = evaluation.precision[:, :, index, 0]
        scores[f"ap/{names[category_id]}"] = _mean(precision)
        scores[f"ap50/{names[category_id]}"] = _mean(precision[0])
    return scores


def _statistics(evaluation: Evaluation) -> dict[str, Floats]:
    """Return what each of COCO's twelve numbers is the mean of, in pycocotools's order."""
    precision, recall = evaluation.precision, evaluation.recall
    return {
        "ap": precision[..., 0],
        "ap50": precision[0, ..., 0],
        "ap75": precision[5, ..., 0],
        "ap_small": precision[..., 1],
        "ap_medium": precision[..., 2],
        "ap_large": precision[..., 3],
        "ar_1": recall[..., 0, 0],
        "ar_10": recall[..., 0, 1],
        f"ar_{evaluation.limits[-1]}": recall[..., 0, 2],
        "ar_small": recall[..., 1, 2],
        "ar_medium": recall[..., 2, 2],
        "ar_large": recall[..., 3, 2],
    }


def _mean(values: Floats) -> float:
    """Return the mean of what could be measured, NaN if nothing could."""
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan
