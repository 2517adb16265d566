"""AP of a test set of which some images count twice and some not at all, as resampling needs it.

An image that counts twice is that image twice in the COCO file. Detections match within an image,
so matching is done once; what is repeated is the accumulation over images.

Axes: R rows of weights, U units, K classes, T IoU thresholds, D detections of a class, H hits.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from tasks.common.files.paths import existing_file, existing_folder
from tasks.common.files.text import read_json
from tasks.common.statistics.paired import Scored
from tasks.common.statistics.score import Floats, Score, mean_of_known, parts_of
from tasks.detection.options import USUAL_LIMIT
from tasks.detection.scores.coco_eval import RECALLS, Entry, Matched, match
from tasks.detection.scores.coco_match import IOUS, Bools, Ints
from tasks.detection.scores.kept import FOUND, KEPT, TRUTH

Counts = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranked:
    """The D detections of a class by falling score; equal scores are in the order of the images."""

    scores: Floats
    images: Ints  # the place of the image
    units: Ints  # the unit that the image belongs to
    right: Bools  # (T, D)
    counted: Bools  # (T, D); others are of crowd regions, and count neither way
    positives: Floats  # (U,), how many boxes of the class each unit has to be found

    def beside(self, other: Self) -> Self:
        """Return the detections of both; the other's units come after these."""
        scores = np.concatenate([self.scores, other.scores])
        images = np.concatenate([self.images, other.images])
        units = np.concatenate([self.units, other.units + len(self.positives)])
        order = np.lexsort((images, -scores))
        return type(self)(
            scores=scores[order],
            images=images[order],
            units=units[order],
            right=np.concatenate([self.right, other.right], axis=1)[:, order],
            counted=np.concatenate([self.counted, other.counted], axis=1)[:, order],
            positives=np.concatenate([self.positives, other.positives]),
        )

    def ap(self, weights: Floats) -> Floats:
        """Return AP at each IoU threshold (R, T); NaN where there is nothing to find."""
        parts = parts_of(weights.astype(np.int32), len(self.scores))
        return np.concatenate([self._ap(part) for part in parts])

    def _ap(self, weights: Counts) -> Floats:
        positives = weights @ self.positives  # (R,)
        of_each = np.take(weights, self.units, axis=1)  # (R, D)
        ranks = np.cumsum(of_each, axis=1, dtype=np.int32)  # how many detections up to each
        needed = _needed(positives)
        found = np.zeros((len(weights), len(IOUS)))
        for level in range(len(IOUS)):
            hits = np.flatnonzero(self.right[level])
            if not hits.size:
                continue
            tp = np.cumsum(np.take(of_each, hits, axis=1), axis=1, dtype=np.int32)  # (R, H)
            counted = np.take(ranks, hits, axis=1)
            if (left := np.flatnonzero(~self.counted[level])).size:
                skipped = np.cumsum(np.take(of_each, left, axis=1), axis=1, dtype=np.int32)
                counted -= np.pad(skipped, ((0, 0), (1, 0)))[:, np.searchsorted(left, hits)]
            found[:, level] = _average(tp, counted, needed)
        found[positives == 0] = np.nan
        return found


def _needed(positives: Floats) -> Floats:
    """Return how many boxes have to be found for each recall level, (R, 101)."""
    least = np.floor(RECALLS * positives[:, None])
    # Which side of a level a recall is on is decided as pycocotools does it, by a quotient.
    return least + (least / np.maximum(positives, 1)[:, None] < RECALLS)


def _average(tp: Counts, counted: Counts, needed: Floats) -> Floats:
    """Return the mean over the recall levels of the highest precision there or above it, (R,).

    ``tp`` and ``counted`` (R, H) are right and all detections up to each hit. Only hits matter: a
    level is first reached at one, and between two of them precision falls.
    """
    rows, hits = tp.shape
    precision = tp / np.maximum(counted, 1)
    # One search in all rows, each of which is lifted above those before it.
    lift = np.arange(rows)[:, None] * (max(needed.max(), tp.max()) + 1)
    first = np.searchsorted((tp + lift).ravel(), (needed + lift).ravel()).reshape(needed.shape)
    ends = hits * np.arange(1, rows + 1)[:, None]
    starts = np.minimum(first, ends - 1)
    # The highest precision from each level's start to that of the next one, then to the end.
    between = np.maximum.reduceat(precision.ravel(), starts.ravel()).reshape(starts.shape)
    highest = np.maximum.accumulate(between[:, ::-1], axis=1)[:, ::-1]
    mean: Floats = np.where(first < ends, highest, 0.0).mean(1)
    return mean


class ApScore(Score):
    """COCO's AP, AP50 and the AP of each class, of boxes of all sizes; see `coco_ap`."""

    def __init__(self, ranked: Sequence[Ranked], *, classes: Sequence[str]) -> None:
        self.names = ("ap", "ap50", *(f"ap/{name}" for name in classes))
        self.limits = 0.0, 1.0
        self.units = len(ranked[0].positives)
        self.ranked, self.classes = ranked, classes

    def values(self, weights: Floats) -> Floats:
        """Return the numbers (R, M) if the units count as often as ``weights`` (R, U) says."""
        table = np.stack([one.ap(weights) for one in self.ranked], axis=1)  # (R, K, T)
        of_classes, at_50 = table.mean(2), table[..., 0]
        return np.column_stack([mean_of_known(of_classes), mean_of_known(at_50), of_classes])

    def beside(self, other: Self) -> Self:
        """Return the score of the 2U units of both, this one's first."""
        pairs = zip(self.ranked, other.ranked, strict=True)
        return type(self)([one.beside(its) for one, its in pairs], classes=self.classes)


def scored(
    truth: Mapping[str, Any], results: Sequence[Entry], *, limit: int = USUAL_LIMIT
) -> Scored:
    """Return detections as answers to a test set; arguments as of `coco_ap`.

    Images whose entry in the truth has the same ``group``, such as a patient, are one unit.
    """
    names = _names(truth)
    texts = _texts(truth, names)
    groups = {names[entry["id"]]: entry.get("group") for entry in truth["images"]}
    grouped = all(group is not None for group in groups.values())
    unit_of = {name: str(groups[name]) if grouped else name for name in texts}
    units = {unit: place for place, unit in enumerate(sorted(set(unit_of.values())))}
    matched = match(truth, results, limit=limit)
    places = np.array([units[unit_of[names[id_]]] for id_ in matched.image_ids], np.int64)
    known = {category["id"]: str(category["name"]) for category in truth["categories"]}
    return Scored(
        score=ApScore(
            [_ranked(matched, label, places) for label in range(len(matched.category_ids))],
            classes=[known[id_] for id_ in matched.category_ids],
        ),
        heading="AP",
        noun="group" if grouped else "image",
        truth=texts,
    )


def _ranked(matched: Matched, label: int, unit_of: Ints) -> Ranked:
    """Return the detections of a class; ``unit_of`` (I,) is the unit of each image."""
    found, targets, images = matched.found, matched.targets, len(matched.image_ids)
    own = np.flatnonzero(found.labels == label)
    own = own[np.argsort(-found.scores[own], kind="stable")]
    right = matched.right[0][:, own]
    places = found.groups[own] % images
    to_find = targets.groups[(targets.labels == label) & ~targets.ignored[:, 0]] % images
    return Ranked(
        scores=found.scores[own],
        images=places,
        units=unit_of[places],
        right=right,
        counted=right | matched.wrong[0][:, own],
        positives=np.bincount(unit_of[to_find], minlength=unit_of.max() + 1).astype(float),
    )


def _names(truth: Mapping[str, Any]) -> dict[Any, str]:
    """Return what each image is called: its file's name, or its id where names repeat."""
    names = {entry["id"]: str(entry.get("file_name", entry["id"])) for entry in truth["images"]}
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    return {id_: str(id_) if name in repeated else name for id_, name in names.items()}


def _texts(truth: Mapping[str, Any], names: Mapping[Any, str]) -> dict[str, str]:
    """Return the boxes of each image as a text, in an order that does not matter."""
    known = {category["id"]: str(category["name"]) for category in truth["categories"]}
    boxes: dict[Any, list[Any]] = defaultdict(list)
    for entry in truth["annotations"]:
        if entry["category_id"] in known:
            box = [round(float(number), 2) for number in entry["bbox"]]
            boxes[entry["image_id"]].append(
                [known[entry["category_id"]], box, bool(entry["iscrowd"])]
            )
    return {name: json.dumps(sorted(boxes[id_])) for id_, name in names.items()}


def read_scored(run: Path) -> Scored:
    """Return what a run's folder keeps of its test: ``truth.json`` and ``predictions.json``.

    As many detections of a class count in an image as did in the run.
    """
    folder = existing_folder(run / KEPT, what="folder of results by image")
    truth = read_json(existing_file(folder / TRUTH, what="truth of the scored split"))
    results = read_json(existing_file(folder / FOUND, what="file of detections"))
    config = OmegaConf.load(run / "config.yaml")
    most = OmegaConf.select(config, "model.detections_per_image", default=USUAL_LIMIT)
    return scored(truth, results, limit=max(USUAL_LIMIT, int(most)))
