"""Run a trained segmenter on image files, and show what it finds."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.common.paths import contents, listed
from tasks.segmentation.cases import Case, CaseSet, ClassTable, Geometry, Image, Labels
from tasks.segmentation.checkpoint import SegmenterCard
from tasks.segmentation.dataset import whole_input
from tasks.segmentation.metrics import case_scores
from tasks.segmentation.pictures import SegmentationSample, prediction_grid, save_overlay
from tasks.segmentation.readers import SUFFIXES, is_volume, read_image, suffix_of
from tasks.segmentation.segment import segment
from tasks.segmentation.store import load_case, scaling_of_file
from tasks.segmentation.writers import write_mask


def find_cases(source: Path, *, channels: int) -> list[Case]:
    """Return the cases that ``source`` stands for, by name.

    Files called ``CASE_0000.ext``, ``CASE_0001.ext``, ... are the channels of one case, as in
    nnU-Net's ``imagesTs``, where there are as many as the segmenter takes and the first has not all
    of them. Hidden files are passed over.

    Args:
        source: An image or volume, or a folder of them (not of its folders).
        channels: That the segmenter takes.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no image in it.
        ValueError: If the first of several numbered files is damaged.
    """
    if not source.exists():
        raise FileNotFoundError(f"no file or folder {str(source)!r}. {contents(source)}")
    files = [source] if source.is_file() else sorted(source.iterdir())
    files = [f for f in files if f.is_file() and suffix_of(f) and not f.name.startswith(".")]
    if not files:
        raise FileNotFoundError(
            f"no image in {str(source)!r}; expected files that end in {', '.join(SUFFIXES)}."
        )
    numbered: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        numbered[re.sub(r"_\d{4}$", "", _stem(file))].append(file)
    stems = Counter(map(_stem, files))
    groups: dict[str, list[Path]] = {}
    for name, group in numbered.items():
        if _are_channels(group, channels):
            groups[name] = group
        else:  # a.png beside a.tif keeps its suffix
            groups |= {f.name if stems[_stem(f)] > 1 else _stem(f): [f] for f in group}
    return [
        Case(name=name, images=tuple(groups[name]), masks=(), patient=name)
        for name in sorted(groups)
    ]


def predict_cases(
    segmenter: nn.Module, card: SegmenterCard, cases: Sequence[Case], *, output: Path
) -> Iterator[str]:
    """Segment every case; write masks in the images' own geometry, and overlays; yield lines.

    ``masks/`` holds a file per case (per class where classes overlap) with the training data's mask
    values, ``overlays/`` a picture of each, of a volume the slice with most in it. Every image is
    read once before the first is segmented, so that a damaged one does not end a long run half way.

    Args:
        segmenter: In eval mode.
        card: Of the same checkpoint.
        cases: From `find_cases`.
        output: The folder to write.

    Raises:
        ValueError: If an image cannot be read, has not the channels that the segmenter takes, or
            numbers that the normalisation cannot take; before anything is written.
    """
    _check(cases, card)
    for case in cases:
        image, geometry = _read(case, card)
        labels = _segmented(segmenter, card, image, geometry)
        write_mask(labels, card.classes, geometry, folder=output / "masks", name=case.name)
        z = _fullest(labels, card.classes)
        overlay = output / "overlays" / f"{case.name}.png"
        picture, shown = (_upright(a, geometry) for a in (image[:, z], labels[..., z, :, :]))
        save_overlay(overlay, picture, shown, classes=card.classes)
        where = f"; the overlay is of slice {z}" if image.shape[1] > 1 else ""
        yield f"{case.name}: {_found(labels, card.classes)}{where}"


def draw_predictions(
    segmenter: nn.Module, card: SegmenterCard, split: CaseSet, path: Path, *, count: int = 8
) -> None:
    """Write a picture of truth beside prediction for cases spread over a split.

    Args:
        segmenter: In eval mode.
        card: Of the same checkpoint.
        split: Where the cases come from.
        path: The .png to write.
        count: How many cases.
    """
    samples = []
    for case in split.cases[:: max(1, len(split.cases) // count)][:count]:
        loaded = load_case(case, split, card.input)
        z = _fullest(loaded.labels, card.classes)
        seen = card.preprocessing(loaded.image, z, scaling=loaded.scaling)[None]
        shown = segment(
            segmenter, torch.from_numpy(seen), card.input, exclusive=card.classes.exclusive
        )
        truth = loaded.labels[..., z : z + 1, :, :]
        scores = case_scores(
            shown, truth, card.classes, spacing=(1, 1, 1), tolerance=1, surfaces=False
        )
        known = [row["dice"] for row in scores.values() if not np.isnan(row["dice"])]
        slices = f", slice {z}" if loaded.image.shape[1] > 1 else ""
        samples.append(
            SegmentationSample(
                name=case.name + slices,
                image=_upright(loaded.image[:, z], loaded.geometry),
                truth=_upright(truth[..., 0, :, :], loaded.geometry),
                prediction=_upright(shown[..., 0, :, :], loaded.geometry),
                dice=fmean(known) if known else float("nan"),
            )
        )
    prediction_grid(samples, classes=card.classes, path=path)


def _upright(plane: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Return a slice of a volume with the patient's front or head up; a flat image as it is."""
    # A slice has the RAS axes in their order, so the second one becomes the vertical.
    return plane if geometry.axis is None else np.rot90(plane, axes=(-2, -1))


def _segmented(
    segmenter: nn.Module, card: SegmenterCard, image: Image, geometry: Geometry
) -> Labels:
    scaling = scaling_of_file(image, card.input, geometry=geometry)
    seen = whole_input(image, scaling, preprocessing=card.preprocessing)
    return segment(segmenter, seen, card.input, exclusive=card.classes.exclusive)


def _read(case: Case, card: SegmenterCard) -> tuple[Image, Geometry]:
    image, geometry = read_image(case.images, axis=card.axis)
    if len(image) != card.channels:
        raise ValueError(
            f"{case.images[0]} has {len(image)} channels in {len(case.images)} files, but the "
            f"segmenter was trained on {card.channels}; give images like those of the training."
        )
    if not np.isfinite(image).all():
        raise ValueError(f"{case.images[0]} has numbers that are NaN or infinite; repair it.")
    return image, geometry


def _check(cases: Sequence[Case], card: SegmenterCard) -> None:
    """Raise unless every case can be read."""
    faults: dict[str, Exception] = {}
    for case in cases:
        try:
            image, geometry = _read(case, card)
            scaling_of_file(image, card.input, geometry=geometry)
        except (OSError, ValueError) as error:
            faults[case.name] = error
    if faults:
        raise ValueError(
            f"{len(faults)} of {len(cases)} cases cannot be segmented: {listed(list(faults))}. "
            f"The first: {next(iter(faults.values()))}"
        )


def _fullest(labels: Labels, classes: ClassTable) -> int:
    """Return the slice in which most pixels have a class; the middle one if none has any."""
    depth = labels.shape[-3]
    there = np.isin(labels, classes.scored) if classes.exclusive else labels == 1
    counts = there.sum(axis=(-2, -1)).reshape(-1, depth).sum(axis=0)
    return int(counts.argmax()) if counts.any() else depth // 2


def _found(labels: Labels, classes: ClassTable) -> str:
    """Return the share of each class, for a line."""
    parts = []
    for index in classes.scored:
        there = labels == index if classes.exclusive else labels[index] == 1
        parts.append(f"{classes.names[index]} {there.mean():.1%}")
    return ", ".join(parts)


def _are_channels(files: Sequence[Path], channels: int) -> bool:
    """Return whether files of one name and different numbers are the channels of one case."""
    numbers = [_stem(file)[-5:] for file in files]
    if channels == 1 or numbers != [f"_{number:04d}" for number in range(channels)]:
        return False
    return is_volume(files[0]) or len(read_image(files[:1], axis=-1)[0]) < channels


def _stem(file: Path) -> str:
    return file.name[: -len(suffix_of(file))]
