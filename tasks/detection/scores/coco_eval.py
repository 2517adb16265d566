"""COCO's evaluation of boxes, in whole arrays: the numbers of pycocotools to the last bit.

One exception: an annotation with the id 0 counts here; pycocotools takes 0 for "no match", so that
whatever finds that object is a false positive there.

Axes: T IoU thresholds, R recall levels, K classes, A ranges of areas, M limits of detections.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from backbones.errors import UserError
from tasks.detection.options import USUAL_LIMIT
from tasks.detection.scores.coco_match import (
    AREAS,
    IOUS,
    Bools,
    Floats,
    Found,
    Ints,
    Targets,
    judge,
    outside,
    rank,
)

RECALLS: Final = np.linspace(0, 1, 101)
_LOWER: Final = (1, 10)  # COCO's other limits, of AR
Entry = Mapping[str, Any]
Places = dict[Any, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What pycocotools calls ``COCOeval.eval``; -1 where a class has nothing to find."""

    category_ids: Sequence[Any]  # of the K classes, ascending
    limits: tuple[int, ...]  # the M limits, ascending
    precision: Floats  # (T, R, K, A), the highest at a recall or above it, with the last limit
    recall: Floats  # (T, K, A, M)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Detections, the boxes of the truth, and which detections are right or wrong: (A, T, D)."""

    found: Found
    targets: Targets
    right: Bools
    wrong: Bools  # a detection that is neither counts neither way
    image_ids: Sequence[Any]  # of the I images, ascending; a group is label * I + place of image
    category_ids: Sequence[Any]  # of the K classes, ascending


def evaluate(
    truth: Mapping[str, Any], results: Sequence[Entry], *, limit: int = USUAL_LIMIT
) -> Evaluation:
    """Return precision and recall as pycocotools counts them; changes neither argument.

    ``truth`` is a COCO dictionary; objects of a category that it does not list are left out. Ids
    are anything that sorts. At most ``limit`` detections of a class count in an image, at least 10:
    pycocotools's ``params.maxDets`` are ``[1, 10, limit]``.

    Source: Lin et al., arXiv:1405.0312; pycocotools.cocoeval, whose bits the tests compare with.
    """
    return accumulate(match(truth, results, limit=limit), limit=limit)


def accumulate(matched: Matched, *, limit: int) -> Evaluation:
    """Return precision and recall of what `match` found with the same limit."""
    limits = (*_LOWER, limit)
    precision, recall = _curves(matched, limits=limits)
    ids = matched.category_ids
    return Evaluation(category_ids=ids, limits=limits, precision=precision, recall=recall)


def match(
    truth: Mapping[str, Any], results: Sequence[Entry], *, limit: int = USUAL_LIMIT
) -> Matched:
    """Return what of the detections is right, image by image; arguments as of `evaluate`."""
    if limit < _LOWER[-1]:
        raise UserError(f"limit is {limit}; expected at least {_LOWER[-1]} detections.")
    images, classes = _places(truth["images"]), _places(truth["categories"])
    unknown = {result["image_id"] for result in results} - images.keys()
    if unknown:
        raise UserError(
            f"{len(unknown)} images of the results are not among the {len(images)} of the truth, "
            f"such as {min(unknown, key=str)!r}. Score results with the split they were made on."
        )
    targets = _read_targets(truth["annotations"], images, classes)
    found = _read_found(results, images, classes, limit=limit)
    right, wrong = judge(found, targets)
    return Matched(
        found=found,
        targets=targets,
        right=right,
        wrong=wrong,
        image_ids=list(images),
        category_ids=list(classes),
    )


def _places(entries: Sequence[Entry]) -> Places:
    return {id_: place for place, id_ in enumerate(sorted({entry["id"] for entry in entries}))}


def _read_targets(entries: Sequence[Entry], images: Places, classes: Places) -> Targets:
    groups, labels = _groups(entries, images, classes)
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    crowds = np.array([bool(entry["iscrowd"]) for entry in entries], bool)[order]
    areas = np.array([entry["area"] for entry in entries], float)[order]
    return Targets(
        groups=groups[order],
        labels=labels[order],
        boxes=_boxes(entries)[order],
        crowds=crowds,
        ignored=crowds[:, None] | outside(areas),
    )


def _read_found(entries: Sequence[Entry], images: Places, classes: Places, *, limit: int) -> Found:
    groups, labels = _groups(entries, images, classes)
    scores = np.array([entry["score"] for entry in entries], float)
    order = np.lexsort((-scores, groups))
    order = order[groups[order] >= 0]
    ranks = rank(groups[order])
    order, ranks = order[ranks < limit], ranks[ranks < limit]
    boxes = _boxes(entries)[order]
    return Found(
        groups=groups[order], labels=labels[order], boxes=boxes, scores=scores[order], ranks=ranks
    )


def _groups(entries: Sequence[Entry], images: Places, classes: Places) -> tuple[Ints, Ints]:
    """Return each entry's group and class; the group is -1 if its image or class is unknown."""
    image = np.array([images.get(entry["image_id"], -1) for entry in entries], np.int64)
    label = np.array([classes.get(entry["category_id"], -1) for entry in entries], np.int64)
    return np.where((image < 0) | (label < 0), -1, label * len(images) + image), label


def _boxes(entries: Sequence[Entry]) -> Floats:
    return np.array([entry["bbox"] for entry in entries], float).reshape(-1, 4)


def _curves(matched: Matched, *, limits: Sequence[int]) -> tuple[Floats, Floats]:
    found, targets, num_classes = matched.found, matched.targets, len(matched.category_ids)
    # By class and falling score; equal scores stay in the order of the images.
    order = np.lexsort((-found.scores, found.labels))
    ranks = found.ranks[order]
    right, wrong = matched.right[:, :, order], matched.wrong[:, :, order]
    ends = np.searchsorted(found.labels[order], np.arange(num_classes + 1))
    precision = np.full((len(IOUS), len(RECALLS), num_classes, len(AREAS)), -1.0)
    recall = np.full((len(IOUS), num_classes, len(AREAS), len(limits)), -1.0)
    for area in range(len(AREAS)):
        regular = targets.labels[~targets.ignored[:, area]]
        for label, positives in zip(*np.unique(regular, return_counts=True), strict=True):
            own = slice(ends[label], ends[label + 1])
            tp, fp = right[area, :, own], wrong[area, :, own]  # (T, detections of the class)
            precision[:, :, label, area] = _precision(tp, fp, positives)
            for index, limit in enumerate(limits):
                hits = np.count_nonzero(tp & (ranks[own] < limit), axis=1)
                recall[:, label, area, index] = hits / positives
    return precision, recall


def _precision(right: Bools, wrong: Bools, positives: int) -> Floats:
    """Return the precision at each recall level, (T, R), of detections (T, D) by falling score."""
    tp = np.cumsum(right, axis=1).astype(float)
    fp = np.cumsum(wrong, axis=1).astype(float)
    precision = tp / (fp + tp + np.spacing(1))
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(highest, ((0, 0), (0, 1)))  # a level that is never reached has 0
    reached = [np.searchsorted(recall, RECALLS) for recall in tp / positives]
    return np.take_along_axis(padded, np.stack(reached), axis=1)
