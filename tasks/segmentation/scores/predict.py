"""Run a trained segmenter on image files, and show what it finds."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.common.files.input_files import (
    NamedFile,
    find_files,
    output_names,
    refuse_same,
    skipped_error,
)
from tasks.common.images.orientation import orientation_note
from tasks.common.report.advice import without_training
from tasks.segmentation.data.cases import Case, CaseSet, ClassTable, Geometry, Labels
from tasks.segmentation.data.formats.files import (
    SUFFIXES,
    is_volume,
    mask_names,
    read_image,
    stem_of,
    suffix_of,
    write_mask,
)
from tasks.segmentation.data.store import load_case
from tasks.segmentation.scores.metrics import case_scores
from tasks.segmentation.scores.pictures import SegmentationSample, prediction_grid, save_overlay
from tasks.segmentation.scores.trained import TrainedSegmenter

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


def predict_cases(model: TrainedSegmenter, cases: Sequence[Case], *, output: Path) -> Iterator[str]:
    """Segment every case; write masks in the images' own geometry, and overlays; yield lines.

    ``masks/`` holds a file per case (per class where classes overlap) with the training data's mask
    values, ``overlays/`` a picture of each, of a volume the slice with most in it. A case that the
    segmenter cannot take is skipped, and an error after the last one.
    """
    classes = model.card.classes
    refuse_same({case.name: mask_names(case.name, classes) for case in cases})
    faults: dict[str, Exception] = {}
    for case in cases:
        try:
            with without_training():
                read = model.read_files(case.images)
        except (OSError, ValueError) as error:
            faults[case.name] = error
            yield f"{case.name}: skipped, {error}"
            continue
        labels, geometry = model.segment(read.image, read.scaling), read.geometry
        write_mask(labels, classes, geometry, folder=output / MASKS, name=case.name)
        z = _fullest(labels, classes)
        picture, shown = (_upright(a, geometry) for a in (read.image[:, z], labels[..., z, :, :]))
        save_overlay(output / OVERLAYS / f"{case.name}.png", picture, shown, classes=classes)
        where = f"; the overlay is of slice {z}" if read.image.shape[1] > 1 else ""
        where += read.note + orientation_note(geometry.orientation, exif=model.card.exif)
        yield f"{case.name}: {_shares(labels, classes)}{where}"
    if faults:
        raise skipped_error(faults, total=len(cases), output=output)


def draw_predictions(
    model: TrainedSegmenter, split: CaseSet, path: Path, *, count: int = 8
) -> None:
    """Write a picture of truth beside prediction for cases spread over a split."""
    samples, classes = [], model.card.classes
    for case in split.cases[:: max(1, len(split.cases) // count)][:count]:
        loaded = load_case(case, split, model.card.input)
        z = _fullest(loaded.labels, classes)
        found = model.segment(loaded.image, loaded.scaling, index=z)
        truth = loaded.labels[..., z : z + 1, :, :]
        place = loaded.geometry
        scores = case_scores(found, truth, classes, place, tolerance=1, surfaces=False)
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
    prediction_grid(samples, classes=classes, path=path)


def _upright(plane: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Return a slice of a volume with the patient's front or head up; a flat image as it is."""
    # A slice has the RAS axes in their order, so the second one becomes the vertical.
    return plane if geometry.axis is None else np.rot90(plane, axes=(-2, -1))


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
