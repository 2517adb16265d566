"""Score a trained segmenter on cases with masks."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backbones.errors import UserError
from tasks.common.files.paths import existing_folder, is_hidden
from tasks.common.report.advice import without_training
from tasks.common.report.terminal import print_scores
from tasks.segmentation.data.case_properties import image_notes, mask_facts, mask_notes
from tasks.segmentation.data.cases import Case, CaseSet
from tasks.segmentation.data.check import check_cases, shared_channels
from tasks.segmentation.data.formats.files import check_same_grid, stem_of, suffix_of
from tasks.segmentation.data.layouts.folder import by_name, folder_cases, named_cases
from tasks.segmentation.data.masks.palettes import compare_all_palettes
from tasks.segmentation.data.masks.read import labels_of, read_mask_files
from tasks.segmentation.data.store import load_case
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.scores.metrics import (
    COUNTS,
    METRICS,
    MISS_RATE,
    Scores,
    case_scores,
    check_tolerance,
    headings,
    summarise,
)
from tasks.segmentation.scores.trained import TrainedSegmenter


def read_cases(
    masks: Path, images: Path, card: SegmenterCard, *, mask_suffix: str | None = None
) -> tuple[CaseSet, str]:
    """Return cases with a checkpoint's classes, after a check of every file, and their unit.

    Masks, or a folder of them per class, are matched with images by name; ``CASE_0000.ext`` and on
    for a mask ``CASE.ext`` are channels, as in nnU-Net. ``mask_suffix`` is that of `folder_cases`.
    """
    with without_training():
        found = _numbered(masks, images)
        notes: tuple[str, ...] = ()
        if not found:
            found, notes = _named(masks, images, card, mask_suffix=mask_suffix)
        cases = CaseSet(
            source=str(masks),
            cases=found,
            classes=card.classes,
            axis=card.axis,
            exif=card.exif,
            channels=card.image_channels,
        )
        looked = check_cases(cases, policy="error")
    channels = {facts.channels for facts in looked}
    if channels != {card.channels}:
        raise UserError(
            f"{images} has images of {', '.join(map(str, sorted(channels)))} channels; the "
            f"segmenter was trained on {card.channels}."
        )
    notes = (*notes, *image_notes(looked), *mask_notes(looked))
    return replace(cases, channels=shared_channels(looked), notes=notes), looked[0].unit


def _named(
    masks: Path, images: Path, card: SegmenterCard, *, mask_suffix: str | None
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Return images and masks that are matched by name, as `folder_cases` does, and its notes."""
    classes = card.classes
    pairs = zip(classes.names, classes.values, strict=True)
    given = {classes.text(value): name for name, values in pairs for value in values}
    found = folder_cases(
        root=images.absolute().parent,
        images=str(images.absolute()),
        masks=str(masks.absolute()),
        classes=given if classes.exclusive else None,
        threshold=classes.threshold,
        mask_suffix=mask_suffix,
    )
    regions = not classes.exclusive and not classes.own_files
    fits = found.classes.exclusive if regions else found.classes.names == classes.names
    if not fits:
        raise UserError(
            f"{masks} has the classes {', '.join(found.classes.names)}; the segmenter was trained "
            f"on {', '.join(classes.names)}."
        )
    return found.cases, found.notes


def _numbered(masks: Path, images: Path) -> tuple[Case, ...]:
    """Return the cases of nnU-Net's ``imagesTr`` and ``labelsTr``; none if it is another layout."""
    files = _files(existing_folder(images, what="image folder"))
    channels: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if numbered := re.fullmatch(r"(.+)_\d{4}", stem_of(file.name)):
            channels[numbered[1]].append(file)
    folder = existing_folder(masks, what="mask folder")
    truths = by_name(folder, _files(folder), what="mask")
    all_numbered = len(files) == sum(map(len, channels.values()))
    if not (truths and truths.keys() <= channels.keys() and all_numbered):
        return ()
    named = {name: (tuple(channels[name]), (truths[name],)) for name in sorted(truths)}
    return named_cases(named, None)


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if suffix_of(f) and not is_hidden(f))


def evaluate_masks(
    results: Path,
    masks: Path,
    *,
    tolerance: float,
    exif: str = "refuse",
    mask_suffix: str | None = None,
) -> tuple[dict[str, Scores], Scores, str, list[str]]:
    """Return the scores of predicted masks of any tool, their summary and unit, and notes.

    The values of the true masks are the classes; predicted ones have the same names. ``tolerance``
    is in the masks' unit, ``exif`` as of `CaseSet`, ``mask_suffix`` that of the true ones.
    """
    check_tolerance(tolerance)
    cases, truths, answers = {}, [], []
    with without_training():
        pairs = folder_cases(
            root=masks.absolute().parent,
            images=str(results.absolute()),
            masks=str(masks.absolute()),
            mask_suffix=mask_suffix,
        )
        classes = pairs.classes
        for case in pairs.cases:
            read = [
                read_mask_files(paths, classes, axis=-1, exif=exif)
                for paths in (case.masks, case.images)
            ]
            truth, found = (labels_of(files, classes) for files in read)
            sizes = truth.shape[-3:], found.shape[-3:]
            check_same_grid(case.masks[0], case.images[0], sizes=sizes)
            truths.append(mask_facts(case.name, read[0]))
            answers.append(mask_facts(case.name, read[1]))
            place = read[0][0].geometry
            cases[case.name] = case_scores(found, truth, classes, place, tolerance=tolerance)
        compare_all_palettes([facts.palettes for facts in (*truths, *answers)], classes)
    notes = [*pairs.notes, *(f"truth: {note}" for note in mask_notes(truths))]
    notes += [f"results: {note}" for note in mask_notes(answers)]
    return cases, summarise(cases, classes), place.unit, notes


def evaluate(
    model: TrainedSegmenter, split: CaseSet, *, tolerance: float
) -> tuple[dict[str, Scores], Scores]:
    """Return the scores of every case, and their summary."""
    check_tolerance(tolerance)
    cases, classes = {}, model.card.classes
    for case in split.cases:
        loaded = load_case(case, split, model.card.input)
        found = model.segment(loaded.image, loaded.scaling)
        place = loaded.geometry
        cases[case.name] = case_scores(found, loaded.labels, classes, place, tolerance=tolerance)
    return cases, summarise(cases, classes)


def print_summary(title: str, summary: Mapping[str, Mapping[str, float]], *, unit: str) -> None:
    """Print the scores of each class and their mean, and how often a class was missed."""
    rows = {"mean of classes" if key == "mean" else key: row for key, row in summary.items()}
    scores = {key: [row.get(m.name, math.nan) for m in METRICS] for key, row in rows.items()}
    counts = {
        "all classes" if key == "mean" else key: [
            *(int(row[count.name]) for count in COUNTS),
            row[MISS_RATE.name],
        ]
        for key, row in summary.items()
    }
    print_scores(title, headings(unit), scores)
    print_scores("Cases, by class", [count.heading for count in (*COUNTS, MISS_RATE)], counts)
