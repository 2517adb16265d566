"""Score a trained detector on an annotated split."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torchvision.models.detection import FasterRCNN

from tasks.common.report import print_line, print_scores
from tasks.detection.annotations import Annotations
from tasks.detection.checkpoint import DetectorCard
from tasks.detection.coco import read_coco
from tasks.detection.dataset import check_images, read_image
from tasks.detection.metrics import coco_ap, to_results
from tasks.detection.predict import detect
from tasks.detection.voc import read_voc


def read_annotations(
    annotations: Path, images: Path, *, classes: Sequence[str], one_based: bool = True
) -> Annotations:
    """Read a split with a checkpoint's classes, and check its images.

    Args:
        annotations: A COCO file, or a folder of Pascal-VOC XML files.
        images: Folder of the images.
        classes: The checkpoint's classes, in its order.
        one_based: Whether coordinates of Pascal-VOC files count from 1; see `read_voc`.

    Raises:
        FileNotFoundError: If something is missing.
        ValueError: If the annotations are malformed, have other classes, or an image is damaged.
    """
    read = partial(read_voc, one_based=one_based) if annotations.is_dir() else read_coco
    return check_images(read(annotations, images, classes=classes), policy="error")


def evaluate(detector: FasterRCNN, card: DetectorCard, split: Annotations) -> dict[str, float]:
    """Return COCO's statistics of a detector; see `tasks.detection.metrics.coco_ap`.

    The split's own category ids are used, so that it may number its classes in another way than
    the training data did.

    Args:
        detector: In eval mode.
        card: Of the same checkpoint.
        split: Read with ``card.classes``.
    """
    results = []
    for record in split.images:
        found = detect(detector, read_image(record.path, in_channels=card.in_channels))
        results += to_results(found, image_id=record.image_id, category_ids=split.category_ids)
    return coco_ap(split.truth, results, limit=card.options.scored_detections)


def print_ap(
    title: str, scores: Mapping[str, float], classes: Sequence[str], *, limit: int
) -> None:
    """Print AP and AP50, overall and per class, and AP by the size of the boxes.

    Args:
        title: Above the table.
        scores: From `coco_ap`.
        classes: Names of the K classes.
        limit: How many detections of a class counted in an image.
    """
    rows = {"all classes": (scores["ap"], scores["ap50"])}
    rows |= {name: (scores[f"ap/{name}"], scores[f"ap50/{name}"]) for name in classes}
    sizes = {
        "boxes under 32 x 32 px": "ap_small",
        "boxes up to 96 x 96 px": "ap_medium",
        "larger boxes": "ap_large",
    }
    rows |= {label: (scores[key], math.nan) for label, key in sizes.items()}
    print_scores(title, ("AP", "AP50"), rows)
    print_line(f"AP is over the best {limit} detections of a class in an image, at most.")
