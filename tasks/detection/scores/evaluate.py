"""Score a trained detector on an annotated split."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tasks.common.report.advice import without_training
from tasks.common.report.terminal import print_line, print_scores
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.check import check_images, scan
from tasks.detection.data.findings import with_repetitions
from tasks.detection.data.images import Reading
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.layouts.voc import read_voc
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions
from tasks.detection.scores.metrics import (
    Result,
    coco_ap,
    crowded,
    needed,
    score_table,
    to_results,
)
from tasks.detection.scores.trained import TrainedDetector


def read_annotations(
    annotations: Path,
    images: Path,
    *,
    classes: Sequence[str],
    one_based: bool = True,
    reading: Reading | None = None,
    options: DetectorOptions | None = None,
) -> Annotations:
    """Read a COCO file or a folder of VOC files with a checkpoint's classes, and check its images.

    ``one_based`` is as of `read_voc`, ``reading`` and ``options`` are as the checkpoint says.
    """
    read = partial(read_voc, one_based=one_based) if annotations.is_dir() else read_coco
    with without_training():
        split = read(annotations, images, classes=classes)
        facts = scan(split.images)
        split = check_images(split, facts, policy="error", reading=reading, options=options)
    return with_repetitions(split, {path: one.digest for path, one in facts.items()})


def evaluate(model: TrainedDetector, split: Annotations) -> dict[str, float]:
    """Return `coco_ap` of a detector on a split, whose own category ids are used."""
    limit = model.card.options.scored_detections
    return coco_ap(split.truth, detect(model, split), limit=limit)


def detect(model: TrainedDetector, split: Annotations) -> list[Result]:
    """Return what a detector finds in a split, with the category ids of the split."""
    results = []
    with without_training():
        for record in split.images:
            found, ids = model(record.path).tensors(), split.category_ids
            results += to_results(found, image_id=record.image_id, category_ids=ids)
    return results


def print_ap(
    title: str, scores: Mapping[str, float], classes: Sequence[str], *, limit: int
) -> None:
    """Print the table of scores: of all classes, of each class, and by the size of the boxes."""
    print_scores(title, *score_table(scores, classes, limit=limit))
    print_line(f"AP is over the best {limit} detections of a class in an image, at most.")


def print_evaluation(split: Annotations, scores: Mapping[str, float], card: DetectorCard) -> None:
    """Print the scores of a detector on a split, and warnings about the split."""
    title = f"{split.source}: {_counts(split)}"
    if split.source.is_dir():
        title += f", coordinates from {int(split.one_based)}"
    print_ap(title, scores, card.classes, limit=card.options.scored_detections)
    found = card.options.detections_per_image
    _warn([*split.warnings, crowded(split.truth, found=found, remedy="--max-detections ")])


def print_results(
    results: Path,
    split: Annotations,
    scores: Mapping[str, float],
    *,
    limit: int,
    suspicions: Sequence[str],
) -> None:
    """Print the scores of a results file."""
    title = f"{results}, on {split.source}: {_counts(split)}"
    print_ap(title, scores, split.classes, limit=limit)
    most, few = needed(split.truth), ""
    if limit < most:
        few = (
            f"images have up to {most} boxes of a class, so their recall cannot reach 1; set "
            f"--max-detections {most}"
        )
    _warn([*split.warnings, *(f"{results}: {text}" for text in suspicions), few])


def _warn(texts: Sequence[str]) -> None:
    for text in filter(None, texts):
        print_line(f"warning: {text}", always=True)


def _counts(split: Annotations) -> str:
    """Return what the truth consists of, and what was made of annotations that are not clean."""
    boxes = sum(not entry["iscrowd"] for entry in split.truth["annotations"])
    cleaned = "".join(f", {count} {why}" for why, count in split.cleaned.items())
    return f"{len(split.images)} images, {boxes} boxes{cleaned}"
