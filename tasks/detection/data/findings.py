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

from tasks.common.data.duplicates import Seen, duplicates
from tasks.common.files.paths import listed
from tasks.detection.data.annotations import Annotations, ImageRecord

_NEAR: Final = 0.05  # of a box's side: two boxes of one object that was marked twice
_PIXEL: Final = 0.1  # of a box's side, and at most a pixel
_SHARE: Final = 0.02  # of boxes that repeat another: no slips of a hand


def findings(splits: Mapping[str, Annotations], digests: Mapping[Path, str]) -> list[str]:
    """Return warnings of the splits; files of equal, not empty ``digests`` are the same image."""
    return [
        *(f"{name}: {text}" for name, split in splits.items() for text in split.warnings),
        *_classes_without_boxes(splits),
        *_alike_names(splits["train"]),
        *_repetitions(splits, digests),
    ]


def with_repetitions(truth: Annotations, digests: Mapping[Path, str]) -> Annotations:
    """Return the truth with what it holds more than once among its warnings; see `findings`."""
    return replace(truth, warnings=(*truth.warnings, *_repetitions({"the truth": truth}, digests)))


def _repetitions(splits: Mapping[str, Annotations], digests: Mapping[Path, str]) -> list[str]:
    """Return which boxes and images are there more than once, a sentence each."""
    images = {
        name: [
            Seen(name=record.name, digest=digest, label_digest=_label_digest(record))
            for record in split.images
            if (digest := digests[record.path])
        ]
        for name, split in splits.items()
    }
    return [*_repeated_boxes(splits), *duplicates(images, labels="boxes")]


def _classes_without_boxes(splits: Mapping[str, Annotations]) -> list[str]:
    """Return which classes cannot be trained, or not be scored, and what becomes of their AP."""
    train = splits["train"]
    counts = {name: _counts(split) for name, split in splits.items()}
    others = {name: count for name, count in counts.items() if name != "train"}
    unseen = counts["train"] == 0
    scored = np.sum(list(others.values()), axis=0) > 0

    def named(which: NDArray[np.bool_]) -> list[str]:
        return [name for name, chosen in zip(train.classes, which, strict=True) if chosen]

    found = []
    if (lost := unseen & ~scored).any():
        rest = named(~lost)
        first = " (category 0, as Roboflow adds it)" if _is_roboflow(train, lost) else ""
        plain = 0 < len(rest) <= 10 and all(re.fullmatch(r"[\w-]+", name) for name in rest)
        take = f"; data.classes=[{','.join(rest)}] leaves it out" if plain else ""
        found.append(
            f"no split has a box of {listed(named(lost))}{first}: it is not trained, and its AP is "
            f"not defined and left out of the mean{take}"
        )
    if (failed := unseen & scored).any():
        found.append(
            f"train has no box of {listed(named(failed))}, which others have: what is never shown "
            "is not learnt, and its AP of 0 counts in the mean"
        )
    for name, count in others.items():
        if (absent := (count == 0) & ~unseen).any():
            found.append(
                f"{name} has no box of {listed(named(absent))}: its AP there is not defined"
            )
    return found


def _counts(split: Annotations) -> NDArray[np.int64]:
    labels = np.concatenate([[0], *(record.labels for record in split.images)]).astype(int)
    return np.bincount(labels, minlength=len(split.classes) + 1)[1:]


def _is_roboflow(train: Annotations, lost: NDArray[np.bool_]) -> bool:
    """Return whether the only class without a box is category 0."""
    ids = np.array(train.category_ids)
    return bool(lost.sum() == 1 and len(ids) > 1 and ids[lost][0] == 0)


def _alike_names(part: Annotations) -> list[str]:
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


def _repeated_boxes(splits: Mapping[str, Annotations]) -> list[str]:
    found = []
    for name, split in splits.items():
        counts = [(record, repeated_boxes(record)) for record in split.images]
        if total := sum(count for _, count in counts):
            first = next(record.name for record, count in counts if count)
            many = total >= _SHARE * split.num_boxes
            harm = ": what finds each once has found half. Remove the copies" if many else ""
            found.append(
                f"{total} of {split.num_boxes} boxes in {name} repeat another of their class, such "
                f"as in {first}{harm}"
            )
    return found


def repeated_boxes(record: ImageRecord) -> int:
    """Return how many boxes repeat another of their class, to 5 % of the box or a pixel."""
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


def _label_digest(record: ImageRecord) -> str:
    rows = sorted(zip(record.labels.tolist(), record.boxes.tolist(), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()
