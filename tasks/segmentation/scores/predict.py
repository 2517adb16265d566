"""Run a trained segmenter on image files, and show what it finds."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backbones.errors import UserError
from tasks.common.files.input_files import (
    NamedFile,
    find_files,
    output_names,
    refuse_same,
    skipped_error,
)
from tasks.common.images.orientation import orientation_note
from tasks.common.report.advice import without_training
from tasks.segmentation.data.cases import Case, CaseSet, ClassTable, Geometry, Image, Labels
from tasks.segmentation.data.channels import fitted, is_coloured
from tasks.segmentation.data.dataset import whole_input
from tasks.segmentation.data.formats.files import (
    SUFFIXES,
    is_volume,
    mask_names,
    read_image,
    stem_of,
    suffix_of,
    write_mask,
)
from tasks.segmentation.data.input import scaling_of
from tasks.segmentation.data.store import load_case
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.scores.metrics import case_scores
from tasks.segmentation.scores.pictures import SegmentationSample, prediction_grid, save_overlay
from tasks.segmentation.scores.windows import segment

MASKS: Final = "masks"
OVERLAYS: Final = "overlays"


def find_cases(sources: Sequence[str | Path], *, channels: int, output: Path) -> list[Case]:
    """Return the cases of a command line; see `find_files` for what it can name.

    Files called ``CASE_0000.ext``, ``CASE_0001.ext``, ... in one folder are the channels of one
    case, as in nnU-Net's ``imagesTs``, where there are as many as the segmenter takes and the first
    has not all of them. Names that differ in large and small letters only are refused.
    """
    written = [output / MASKS, output / OVERLAYS]
    numbered: dict[str, list[NamedFile]] = defaultdict(list)
    for file in find_files(sources, suffixes=SUFFIXES, written=written):
        numbered[re.sub(r"_\d{4}$", "", stem_of(file.name))].append(file)
    groups: dict[str, list[Path]] = {}  # by a name with the suffix
    for name, group in numbered.items():
        group.sort(key=lambda file: file.name)
        if _are_channels(group, channels):
            groups[f"{name}{suffix_of(group[0].path)}"] = [file.path for file in group]
        else:
            groups |= {file.name: [file.path] for file in group}
    names = output_names(list(groups), suffixes=SUFFIXES)
    return [
        Case(name=name, images=tuple(images), masks=(), patient=name)
        for name, images in zip(names, groups.values(), strict=True)
    ]


def predict_cases(
    segmenter: nn.Module, card: SegmenterCard, cases: Sequence[Case], *, output: Path
) -> Iterator[str]:
    """Segment every case; write masks in the images' own geometry, and overlays; yield lines.

    ``masks/`` holds a file per case (per class where classes overlap) with the training data's mask
    values, ``overlays/`` a picture of each, of a volume the slice with most in it. A case that the
    segmenter cannot take is skipped, and an error after the last one.
    """
    refuse_same({case.name: mask_names(case.name, card.classes) for case in cases})
    faults: dict[str, Exception] = {}
    for case in cases:
        try:
            with without_training():
                image, geometry, done = _read(case, card)
                scaling = scaling_of(image, card.input, source=geometry.source)
        except (OSError, ValueError) as error:
            faults[case.name] = error
            yield f"{case.name}: skipped, {error}"
            continue
        seen = whole_input(image, scaling, preprocessing=card.preprocessing)
        labels = segment(segmenter, seen, card.input, exclusive=card.classes.exclusive)
        write_mask(labels, card.classes, geometry, folder=output / MASKS, name=case.name)
        z = _fullest(labels, card.classes)
        picture, shown = (_upright(a, geometry) for a in (image[:, z], labels[..., z, :, :]))
        overlay = output / OVERLAYS / f"{case.name}.png"
        save_overlay(overlay, picture, shown, classes=card.classes)
        where = f"; the overlay is of slice {z}" if image.shape[1] > 1 else ""
        where += done + orientation_note(geometry.orientation, exif=card.exif)
        yield f"{case.name}: {_shares(labels, card.classes)}{where}"
    if faults:
        raise skipped_error(faults, total=len(cases), output=output)


def draw_predictions(
    segmenter: nn.Module, card: SegmenterCard, split: CaseSet, path: Path, *, count: int = 8
) -> None:
    """Write a picture of truth beside prediction for cases spread over a split."""
    samples = []
    for case in split.cases[:: max(1, len(split.cases) // count)][:count]:
        loaded = load_case(case, split, card.input)
        z = _fullest(loaded.labels, card.classes)
        seen = torch.from_numpy(card.preprocessing(loaded.image, z, scaling=loaded.scaling)[None])
        found = segment(segmenter, seen, card.input, exclusive=card.classes.exclusive)
        truth = loaded.labels[..., z : z + 1, :, :]
        place = loaded.geometry
        scores = case_scores(found, truth, card.classes, place, tolerance=1, surfaces=False)
        known = [row["dice"] for row in scores.values() if not np.isnan(row["dice"])]
        slices = f", slice {z}" if loaded.image.shape[1] > 1 else ""
        sample = SegmentationSample(
            name=case.name + slices,
            image=_upright(loaded.image[:, z], place),
            truth=_upright(truth[..., 0, :, :], place),
            prediction=_upright(found[..., 0, :, :], place),
            dice=fmean(known) if known else float("nan"),
        )
        samples.append(sample)
    prediction_grid(samples, classes=card.classes, path=path)


def _upright(plane: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Return a slice of a volume with the patient's front or head up; a flat image as it is."""
    # A slice has the RAS axes in their order, so the second one becomes the vertical.
    return plane if geometry.axis is None else np.rot90(plane, axes=(-2, -1))


def _read(case: Case, card: SegmenterCard) -> tuple[Image, Geometry, str]:
    """Return the image, how it lies on disk, and what was done to its channels."""
    if other := [path for path in case.images if not suffix_of(path)]:
        raise UserError(
            f"{other[0]} is no image by its name; expected one that ends in {', '.join(SUFFIXES)}."
        )
    stored, geometry = read_image(case.images, axis=card.axis, exif=card.exif)
    image = fitted(stored, case.images, channels=card.image_channels)
    if len(image) != card.channels:
        coloured = card.gray_or_rgb and is_coloured(image, case.images)
        colours = " that differ" if coloured else ""
        raise UserError(
            f"{case.images[0]} has {len(image)} channels{colours} in {len(case.images)} files, but "
            f"the segmenter was trained on {card.channels}; give images like those of the training."
        )
    if not np.isfinite(image).all():
        raise UserError(f"{case.images[0]} has numbers that are NaN or infinite; repair it.")
    as_others = {1: "; RGB, read as gray", 3: "; gray, read as RGB"}
    return image, geometry, "" if len(image) == len(stored) else as_others[len(image)]


def _fullest(labels: Labels, classes: ClassTable) -> int:
    """Return the slice in which most pixels have a class; the middle one if none has any."""
    depth = labels.shape[-3]
    there = np.isin(labels, classes.scored) if classes.exclusive else labels == 1
    counts = there.sum(axis=(-2, -1)).reshape(-1, depth).sum(axis=0)
    return int(counts.argmax()) if counts.any() else depth // 2


def _shares(labels: Labels, classes: ClassTable) -> str:
    layers = {k: labels == k if classes.exclusive else labels[k] == 1 for k in classes.scored}
    return ", ".join(f"{classes.names[k]} {layer.mean():.1%}" for k, layer in layers.items())


def _are_channels(files: Sequence[NamedFile], channels: int) -> bool:
    """Return whether files of one name and different numbers are the channels of one case."""
    numbers = [stem_of(file.name)[-5:] for file in files]
    if channels == 1 or numbers != [f"_{number:04d}" for number in range(channels)]:
        return False
    if is_volume(files[0].path):
        return True
    try:
        return len(read_image([files[0].path], axis=-1, exif="ignore")[0]) < channels
    except (OSError, ValueError):  # the case is skipped when its turn comes
        return True
