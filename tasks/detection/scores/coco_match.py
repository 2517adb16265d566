"""COCO's matching of detections with the boxes of the truth, of all images and classes at once.

A group is a class in an image, the only place where a detection can match a box; all match in step.

Axes: D detections, N boxes of the truth, P pairs of the two, T IoU thresholds, A ranges of areas.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IOUS: Final = np.linspace(0.5, 0.95, 10)
AREAS: Final = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
"""All, small, medium and large, in square pixels; both ends belong to a range."""

PAIRS_AT_ONCE: Final = 1 << 20  # how many pairs of boxes are compared at once; bounds the memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """The truth's N boxes, by ascending group."""

    groups: Ints
    labels: Ints  # each class's place among the classes
    boxes: Floats  # (N, 4), xywh in pixels
    crowds: Bools  # regions that any number of detections can match
    ignored: Bools  # (N, A), which need not be found: crowds, and objects outside of the range


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """D detections, by ascending group, numbered as those of `Targets`, and falling score."""

    groups: Ints
    labels: Ints  # each class's place among the classes
    boxes: Floats  # (D, 4), xywh in pixels
    scores: Floats
    ranks: Ints  # the place in the group, from 0


def judge(found: Found, targets: Targets) -> tuple[Bools, Bools]:
    """Return which detections are right and which are wrong, each (A, T, D); others are ignored.

    By falling score each detection takes the box of the highest IoU among those not yet taken: the
    last of equals, and an ignored one only if no other reaches the threshold.

    Source: Lin et al., arXiv:1405.0312; ``COCOeval.evaluateImg`` of pycocotools.
    """
    rows, columns, ious = _candidates(found, targets)
    right = np.zeros((len(AREAS), len(IOUS), len(found.groups)), bool)
    inside = ~outside(found.boxes[:, 2] * found.boxes[:, 3])  # (D, A)
    wrong = np.repeat(inside.T[:, None], len(IOUS), axis=1)
    taken = np.zeros((len(targets.groups), len(AREAS), len(IOUS)), bool)
    reached = (ious[:, None] >= IOUS)[:, None]  # (P, 1, T)
    # A detection's pairs come in the order of preference, so that a pair's place is its value.
    regular = ~targets.ignored[columns]  # (P, A)
    values = (1 + np.arange(len(rows))[:, None] + len(rows) * regular)[:, :, None]  # (P, A, 1)
    for pairs in _rounds(found.groups, rows):
        free = reached[pairs] & ~taken[columns[pairs]]
        starts = np.flatnonzero(np.diff(rows[pairs], prepend=-1))
        best = np.maximum.reduceat(free * values[pairs], starts, axis=0)  # 0: nothing to take
        _, areas, levels = chosen = np.nonzero(best)
        pair = (best[chosen] - 1) % len(rows)
        row, column = rows[pair], columns[pair]
        taken[column, areas, levels] = ~targets.crowds[column]
        right[areas, levels, row] = ~targets.ignored[column, areas]
        wrong[areas, levels, row] = False
    return right, wrong


def outside(areas: Floats) -> Bools:
    """Return which areas (N,), in square pixels, are outside of which of `AREAS`, (N, A)."""
    return (areas[:, None] < AREAS[:, 0]) | (areas[:, None] > AREAS[:, 1])


def rank(groups: Ints) -> Ints:
    """Return each row's place in its group, from 0; groups are ascending.

    >>> rank(np.array([2, 2, 2, 5, 9, 9])).tolist()
    [0, 1, 2, 0, 0, 1]
    """
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def _candidates(found: Found, targets: Targets) -> tuple[Ints, Ints, Floats]:
    """Return pairs that reach the lowest threshold, (P,): rows of both, and the IoU."""
    first = np.searchsorted(targets.groups, found.groups)
    counts = np.searchsorted(targets.groups, found.groups, side="right") - first
    parts: list[tuple[Ints, Ints, Floats]] = []
    for part in _parts(counts):
        rows = np.repeat(part, counts[part])
        columns = np.repeat(first[part], counts[part]) + rank(rows)
        ious = overlap(found.boxes[rows], targets.boxes[columns], targets.crowds[columns])
        near = ious >= IOUS[0]
        parts.append((rows[near], columns[near], ious[near]))
    rows, columns, ious = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((ious, rows))
    return rows[order], columns[order], ious[order]


def _parts(counts: Ints) -> Iterator[Ints]:
    """Yield the rows that have pairs, `PAIRS_AT_ONCE` pairs a part, at least one part."""
    rows = np.flatnonzero(counts)
    ends = np.cumsum(counts[rows])
    yield from np.split(
        rows, np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, counts.sum(), PAIRS_AT_ONCE))
    )


def overlap(found: Floats, targets: Floats, crowds: Bools) -> Floats:
    """Return the IoU of boxes (P, 4) in xywh; in a crowd, the share of the detection inside it."""
    low = np.maximum(found[:, :2], targets[:, :2])
    high = np.minimum(found[:, 2:] + found[:, :2], targets[:, 2:] + targets[:, :2])
    width, height = np.maximum(high - low, 0).T
    common = width * height
    area = found[:, 2] * found[:, 3]
    union = np.where(crowds, area, area + targets[:, 2] * targets[:, 3] - common)
    shares: Floats = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return shares


def _rounds(groups: Ints, rows: Ints) -> Iterator[Ints]:
    """Yield the pairs of the first detection with any of each group, then of the second, ..."""
    if not len(rows):
        return
    detections, inverse = np.unique(rows, return_inverse=True)
    turns = rank(groups[detections])[inverse]
    order = np.argsort(turns, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(turns[order])) + 1)
