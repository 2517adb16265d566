"""Every detection and every true box gets a name: found, or the error that it is.

Only detections with a score from a threshold on are asked; by falling score, in this order:

============  ====================================================================================
found         a detection that COCO counts as right at IoU 0.5: the same class, not yet taken
wrong class   it overlaps a true box of another class by 0.5 or more, and both are left over
badly placed  it overlaps a true box of its class by 0.1 to 0.5, and both are left over
duplicate     what is left over and overlaps a true box by 0.5 or more, which is taken
false         what is left over of the detections
missed        what is left over of the true boxes
============  ====================================================================================

So each true box has one name and at most one detection. Detections of a crowd region count neither
way. The names are those of TIDE (Bolya et al., arXiv:2008.08115), which also knows "both": a
detection of another class, overlapping by 0.1 to 0.5, is false here. TIDE measures each error by
the AP that is lost; here errors are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from tasks.detection.scores.coco_eval import Matched
from tasks.detection.scores.coco_match import Bools, Floats, Ints, overlap

IOU: Final = 0.5  # from which on a box is found
NEAR: Final = 0.1  # from which on a box is meant; TIDE's t_b


class Kind(IntEnum):
    """What a detection or a true box is; see above."""

    IGNORED = 0
    FOUND = 1
    WRONG_CLASS = 2
    BADLY_PLACED = 3
    DUPLICATE = 4
    FALSE = 5
    MISSED = 6

    @property
    def text(self) -> str:
        """Its name in a table."""
        return self.name.lower().replace("_", " ")


ERRORS: Final = (
    *(Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.DUPLICATE, Kind.FALSE),
    Kind.MISSED,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """The D detections from the threshold on and the N boxes of the truth, each with its kind."""

    threshold: float
    classes: Sequence[str]  # the K names, in the order of the labels, which count from 0
    image_ids: Sequence[int]  # of the I images
    kinds: Ints  # (D,)
    partners: Ints  # (D,), the true box that a detection was matched with, or -1
    images: Ints  # (D,), places among the images
    labels: Ints  # (D,)
    boxes: Floats  # (D, 4), xywh in pixels
    scores: Floats  # (D,)
    true_kinds: Ints  # (N,)
    true_images: Ints  # (N,)
    true_labels: Ints  # (N,)
    true_boxes: Floats  # (N, 4), xywh in pixels

    def confusion(self) -> Ints:
        """Return counts (K + 1, K + 1): the truth in rows, what was found in columns.

        The last row has what is no true box (badly placed, duplicate and false detections), the
        last column the true boxes that were not found (missed, or badly placed).
        """
        count = len(self.classes)
        table = np.zeros((count + 1, count + 1), np.int64)
        paired = np.isin(self.kinds, (Kind.FOUND, Kind.WRONG_CLASS))
        truth = self.true_labels[self.partners[paired]]
        np.add.at(table, (truth, self.labels[paired]), 1)
        alone = ~paired & (self.kinds != Kind.IGNORED)
        table[-1, :-1] = np.bincount(self.labels[alone], minlength=count)
        lost = np.isin(self.true_kinds, (Kind.BADLY_PLACED, Kind.MISSED))
        table[:-1, -1] = np.bincount(self.true_labels[lost], minlength=count)
        return table

    def counts(self) -> Ints:
        """Return how often each class has each `Kind`, (K, 7).

        What a true box has part in counts for its class; duplicate and false ones for that of the
        detection. So each error is counted once.
        """
        table = np.zeros((len(self.classes), len(Kind)), np.int64)
        np.add.at(table, (self.true_labels, self.true_kinds), 1)
        alone = np.isin(self.kinds, (Kind.DUPLICATE, Kind.FALSE))
        np.add.at(table, (self.labels[alone], self.kinds[alone]), 1)
        return table

    def wrongness(self) -> Floats:
        """Return how wrong each image is, (I,): 1 for a missed box, its score for another error."""
        weights = np.zeros(len(self.image_ids))
        wrong = ~np.isin(self.kinds, (Kind.IGNORED, Kind.FOUND))
        np.add.at(weights, self.images[wrong], self.scores[wrong])
        np.add.at(weights, self.true_images[self.true_kinds == Kind.MISSED], 1.0)
        return weights


def name_errors(matched: Matched, *, threshold: float, classes: Sequence[str]) -> Named:
    """Return what every detection with at least this score and every true box is."""
    found, targets, count = matched.found, matched.targets, len(matched.image_ids)
    # Within an image by falling score; equal scores stay in the order of classes and results.
    rows = np.flatnonzero(found.scores >= threshold)
    rows = rows[np.lexsort((-found.scores[rows], found.groups[rows] % count))]
    images, true_images = found.groups[rows] % count, targets.groups % count
    kinds, partners = np.full(len(rows), Kind.FALSE, np.int64), np.full(len(rows), -1)
    true_kinds = np.where(targets.crowds, Kind.IGNORED, Kind.MISSED).astype(np.int64)
    columns = np.argsort(true_images, kind="stable")
    for image in np.unique(images):
        mine = slice(*np.searchsorted(images, (image, image + 1)))
        its = rows[mine]
        there = columns[slice(*np.searchsorted(true_images[columns], (image, image + 1)))]
        pairs = _Pairs.of(found.boxes[its], targets.boxes[there], targets.crowds[there])
        kinds[mine], own = pairs.named(found.labels[its][:, None] == targets.labels[there])
        partners[mine] = np.append(there, -1)[own]
    met = partners >= 0
    true_kinds[partners[met]] = kinds[met]
    return Named(
        threshold=threshold,
        classes=classes,
        image_ids=matched.image_ids,
        kinds=kinds,
        partners=partners,
        images=images,
        labels=found.labels[rows],
        boxes=found.boxes[rows],
        scores=found.scores[rows],
        true_kinds=true_kinds,
        true_images=true_images,
        true_labels=targets.labels,
        true_boxes=targets.boxes,
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The detections of an image, by falling score, with all of its true boxes."""

    ious: Floats  # (D, N)
    crowds: Bools  # (N,)

    @classmethod
    def of(cls, found: Floats, targets: Floats, crowds: Bools) -> "_Pairs":
        shape = len(found), len(targets)
        rows, columns = (index.ravel() for index in np.indices(shape))
        ious = overlap(found[rows], targets[columns], crowds[columns])
        return cls(ious.reshape(shape), crowds)

    def named(self, same: Bools) -> tuple[Ints, Ints]:
        """Return the kind of each detection and its true box, or -1; ``same`` class is (D, N)."""
        kinds = np.full(len(self.ious), Kind.FALSE, np.int64)
        partners = np.full(len(self.ious), -1)
        over, regular = self.ious >= IOU, ~self.crowds
        self._take(kinds, partners, over & same & regular, Kind.FOUND)
        in_crowd = (over & same & self.crowds).any(1)
        kinds[in_crowd & (partners < 0)] = Kind.IGNORED
        self._take(kinds, partners, over & ~same & regular, Kind.WRONG_CLASS)
        self._take(kinds, partners, (self.ious >= NEAR) & same & regular, Kind.BADLY_PLACED)
        kinds[(kinds == Kind.FALSE) & (over & regular).any(1)] = Kind.DUPLICATE
        return kinds, partners

    def _take(self, kinds: Ints, partners: Ints, allowed: Bools, kind: Kind) -> None:
        """Give each detection that is left the best allowed box left, the last of equals."""
        free = np.ones(len(self.crowds), bool)
        free[partners[partners >= 0]] = False
        for row in np.flatnonzero((kinds == Kind.FALSE) & allowed.any(1)):
            choices = np.flatnonzero(allowed[row] & free)
            if len(choices):
                best = choices[::-1][self.ious[row, choices[::-1]].argmax()]
                kinds[row], partners[row], free[best] = kind, best, False
