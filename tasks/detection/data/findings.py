"""What a user should know of a detection data set before it is trained on."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from tasks.common.data.doubles import Seen, doubles
from tasks.common.files.paths import listed
from tasks.detection.data.annotations import Annotations, ImageRecord

_NEAR: Final = 0.05  # of a box's side: two boxes of one object that was marked twice
_PIXEL: Final = 0.1  # of a box's side, and at most a pixel
_SHARE: Final = 0.02  # of boxes that repeat another: no slips of a hand


def findings(sides: Mapping[str, Annotations], digests: Mapping[Path, str]) -> list[str]:
    """Return what a user should know of the splits, a sentence each.

    Args:
        sides: Each split by its name, train first, with images that were checked.
        digests: Of the pixels of each file; empty for an image of one value.
    """
    read = [f"{side}: {text}" for side, part in sides.items() for text in part.warnings]
    return [
        *read,
        *_classes_without_boxes(sides),
        *_alike_names(sides["train"]),
        *repetitions(sides, digests),
    ]


def repetitions(sides: Mapping[str, Annotations], digests: Mapping[Path, str]) -> list[str]:
    """Return which boxes and images are there more than once, a sentence each.

    Args:
        sides: Each split by what it is called.
        digests: Equal for files that are the same image; empty for one that is not compared.
    """
    return [*_repeated_boxes(sides), *doubles(_seen(sides, digests), labels="boxes")]


def with_repetitions(truth: Annotations, digests: Mapping[Path, str]) -> Annotations:
    """Return the truth of an evaluation with `repetitions` among its warnings.

    Args:
        truth: What is scored with.
        digests: See `repetitions`.
    """
    found = repetitions({"the truth": truth}, digests)
    return replace(truth, warnings=(*truth.warnings, *found))


def _classes_without_boxes(sides: Mapping[str, Annotations]) -> list[str]:
    """Return which classes cannot be learnt, or not be scored, and what becomes of their AP."""
    counts = {side: _counts(part) for side, part in sides.items()}
    train = sides["train"]
    held_out = [side for side in sides if side != "train"]
    scored = np.sum([counts[side] for side in held_out], axis=0) > 0
    unseen = counts["train"] == 0
    said = []
    if (lost := unseen & ~scored).any():
        names = [name for name, gone in zip(train.classes, lost, strict=True) if gone]
        rest = [name for name, gone in zip(train.classes, lost, strict=True) if not gone]
        first = " (category 0, as Roboflow adds it)" if _is_roboflow(train, lost) else ""
        plain = 0 < len(rest) <= 10 and all(re.fullmatch(r"[\w-]+", name) for name in rest)
        take = f"; data.classes=[{','.join(rest)}] leaves it out" if plain else ""
        said.append(
            f"no split has a box of {listed(names)}{first}: it is not learnt, and its AP is not "
            f"defined and left out of the mean{take}"
        )
    if (failed := unseen & scored).any():
        names = [name for name, gone in zip(train.classes, failed, strict=True) if gone]
        said.append(
            f"train has no box of {listed(names)}, which others have: what is never shown is not "
            "learnt, and its AP of 0 counts in the mean"
        )
    for side in held_out:
        absent = (counts[side] == 0) & ~unseen
        if absent.any():
            names = [name for name, gone in zip(train.classes, absent, strict=True) if gone]
            said.append(f"{side} has no box of {listed(names)}: its AP there is not defined")
    return said


def _counts(part: Annotations) -> NDArray[np.int64]:
    """Return the number of boxes of each class."""
    labels = [record.labels for record in part.images]
    return np.bincount(np.concatenate([[0], *labels]).astype(int), minlength=len(part.classes) + 1)[
        1:
    ]


def _is_roboflow(train: Annotations, lost: NDArray[np.bool_]) -> bool:
    """Return whether the only class without a box is category 0."""
    ids = np.array(train.category_ids)
    return bool(lost.sum() == 1 and len(ids) > 1 and ids[lost][0] == 0)


def _alike_names(part: Annotations) -> list[str]:
    """Return which classes have names that differ in spelling only."""
    counts = _counts(part)
    alike: dict[str, list[str]] = defaultdict(list)
    for name, count in zip(part.classes, counts, strict=True):
        key = re.sub(r"[\s_-]+", " ", normalize("NFKC", name).casefold()).strip()
        alike[key].append(f"{name!r} ({count} boxes in train)")
    return [
        f"{' and '.join(names)} are different classes, though their names differ in spelling only"
        for names in alike.values()
        if len(names) > 1
    ]


def _repeated_boxes(sides: Mapping[str, Annotations]) -> list[str]:
    """Return how many boxes of each split repeat another of the same class in their image."""
    said = []
    for side, part in sides.items():
        counts = [(record, repeated_boxes(record)) for record in part.images]
        total = sum(count for _, count in counts)
        if total:
            first = next(record.name for record, count in counts if count)
            many = total >= _SHARE * part.num_boxes
            harm = ": what finds each once has found half. Remove the copies" if many else ""
            said.append(
                f"{total} of {part.num_boxes} boxes in {side} repeat another of their class, such "
                f"as in {first}{harm}"
            )
    return said


def repeated_boxes(record: ImageRecord) -> int:
    """Return how many boxes of an image are there before, with the same class and nearly the place.

    Args:
        record: Its sides may differ by 5 % of the box, and small ones by a pixel.
    """
    count = 0
    for label in np.unique(record.labels):
        boxes = record.boxes[record.labels == label].astype(np.float64)  # [B,4]
        if len(boxes) < 2:
            continue
        boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
        side = boxes[:, 2:] - boxes[:, :2]
        near = np.tile(np.maximum(side * _NEAR, np.minimum(side * _PIXEL, 1)), 2)  # [B,4]
        found = np.zeros(len(boxes), dtype=bool)
        for step in range(1, len(boxes)):  # the next box by its left side, then the next but one
            gap = np.abs(boxes[step:] - boxes[:-step])
            found[step:] |= (gap <= np.maximum(near[step:], near[:-step])).all(axis=1)
            if gap[:, 0].min() > near[:, 0].max():
                break
        count += int(found.sum())
    return count


def _seen(sides: Mapping[str, Annotations], digests: Mapping[Path, str]) -> dict[str, list[Seen]]:
    """Return the images of each split that can be told apart."""
    return {
        side: [
            Seen(name=record.name, digest=digests[record.path], label_digest=_labels(record))
            for record in part.images
            if digests[record.path]
        ]
        for side, part in sides.items()
    }


def _labels(record: ImageRecord) -> str:
    rows = sorted(zip(record.labels.tolist(), record.boxes.tolist(), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()
