"""Score a trained segmenter on cases with masks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from tasks.common.report import print_scores
from tasks.segmentation.cases import CaseSet
from tasks.segmentation.check import look
from tasks.segmentation.checkpoint import SegmenterCard
from tasks.segmentation.dataset import CaseDataset
from tasks.segmentation.folder import folder_cases
from tasks.segmentation.metrics import METRICS, Scores, case_scores, summarise
from tasks.segmentation.segment import segment
from tasks.segmentation.store import CaseStore


def read_cases(masks: Path, images: Path, card: SegmenterCard) -> tuple[CaseSet, str]:
    """Return cases with a checkpoint's classes, after a look at every file, and their unit.

    Args:
        masks: Folder of the masks, or of a folder of masks per class.
        images: Folder of the images, matched by name.
        card: Of the checkpoint.

    Raises:
        FileNotFoundError: If something is missing.
        ValueError: If images and masks do not match, or have other values or channels.
    """
    given = {
        value: name
        for name, values in zip(card.classes.names, card.classes.values, strict=True)
        for value in values
    }
    found = folder_cases(
        root=images.absolute().parent,
        images=str(images.absolute()),
        masks=str(masks.absolute()),
        classes=given if card.classes.exclusive else None,
    )
    regions = not card.classes.exclusive and set(card.classes.values) != {(1,)}
    fits = found.classes.exclusive if regions else found.classes.names == card.classes.names
    if not fits:
        raise ValueError(
            f"{masks} has the classes {', '.join(found.classes.names)}; the segmenter was trained "
            f"on {', '.join(card.classes.names)}."
        )
    cases = replace(found, classes=card.classes, axis=card.axis)
    looked = look(cases, policy="error")
    channels = {facts.channels for facts in looked}
    if channels != {card.channels}:
        raise ValueError(
            f"{images} has images of {', '.join(map(str, sorted(channels)))} channels; the "
            f"segmenter was trained on {card.channels}."
        )
    return cases, looked[0].unit


def evaluate(
    segmenter: nn.Module, card: SegmenterCard, split: CaseSet, *, tolerance: float
) -> tuple[dict[str, Scores], Scores]:
    """Return the scores of every case, and their summary.

    Args:
        segmenter: In eval mode.
        card: Of the same checkpoint.
        split: From `read_cases`.
        tolerance: Of the surface Dice, in the images' unit.
    """
    cases = {}
    samples = CaseDataset(CaseStore(split, card.input, limit=0), preprocessing=card.preprocessing)
    for index in range(len(samples)):
        sample = samples[index]
        found = segment(segmenter, sample.image, card.input, exclusive=card.classes.exclusive)
        cases[sample.name] = case_scores(
            found, sample.labels, card.classes, spacing=sample.spacing, tolerance=tolerance
        )
    return cases, summarise(cases, card.classes)


def print_summary(title: str, summary: Mapping[str, Mapping[str, float]], *, unit: str) -> None:
    """Print the scores of each class and their mean, and how often a class was missed.

    Args:
        title: Above the table.
        summary: From `summarise`.
        unit: Of distances.
    """
    heads = ("Dice", "IoU", "precision", "recall", f"HD95 {unit}", "NSD")
    counted = ("cases", "with it", "missed", "false alarms")
    rows, counts = {}, {}
    for key, row in summary.items():
        name = "mean of classes" if key == "mean" else key
        rows[name] = [row.get(metric, math.nan) for metric in METRICS]
        counts[name] = [int(row[c]) for c in ("n_cases", "n_truth", "missed", "false_alarms")]
    print_scores(title, heads, rows)
    print_scores("Cases, by class", counted, {k: v for k, v in counts.items() if k in summary})
