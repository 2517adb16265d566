"""Run a trained segmenter on image files and videos, and show what it finds."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.common.files.input_files import NamedFile, find_files, output_names, refuse_same
from tasks.common.files.paths import VIDEO_SUFFIXES
from tasks.common.images.orientation import orientation_note
from tasks.common.images.videos import Frame
from tasks.common.predict.predict import OVERLAYS, PredictOptions, predict
from tasks.common.predict.predictor import Picture, Predictor, Source
from tasks.common.report.progress import Step
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
from tasks.segmentation.scores.pictures import (
    SegmentationSample,
    draw_labels,
    prediction_grid,
    save_overlay,
)
from tasks.segmentation.scores.trained import ReadCase, TrainedSegmenter
from tasks.segmentation.scores.windows import TILES

MASKS: Final = "masks"


def find_cases(sources: Sequence[str | Path], *, channels: int, output: Path) -> list[Case]:
    """Return the cases of a command line; see `find_files` for what it can name.

    Files called ``CASE_0000.ext``, ``CASE_0001.ext``, ... in one folder are the channels of one
    case, as in nnU-Net's ``imagesTs``, where there are as many as the segmenter takes and the first
    has not all of them. A video is a case that keeps its suffix. Names that differ in large and
    small letters only are refused.
    """
    written = [output / MASKS, output / OVERLAYS]
    numbered: dict[str, list[NamedFile]] = defaultdict(list)
    for file in find_files(sources, suffixes=(*SUFFIXES, *VIDEO_SUFFIXES), written=written):
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
    model: TrainedSegmenter, cases: Sequence[Case], options: PredictOptions, *, tiles: int = TILES
) -> Iterator[Step]:
    """Segment every case; write masks in the images' own geometry, and overlays.

    ``masks/`` holds a file per case or frame (per class where classes overlap) with the training
    data's mask values, ``overlays/`` a picture of each case, of a volume the slice with most in it.
    ``tiles`` slices of a volume, or windows, go through the network at once. Yields what `predict`
    does.
    """
    classes = model.card.classes
    refuse_same({case.name: mask_names(case.name, classes) for case in cases})
    sources = [Source(name=case.name, output=case.name, paths=case.images) for case in cases]
    predictor = _SegmenterPredictor(model=model, options=options, tiles=tiles)
    yield from predict(predictor, sources, options)


@dataclass(frozen=True, kw_only=True, eq=False)
class _SegmenterPredictor(Predictor[ReadCase, Labels]):
    model: TrainedSegmenter
    options: PredictOptions
    tiles: int

    def read(self, paths: Sequence[Path]) -> ReadCase:
        """Return the image in the files of a case."""
        return self.model.read_files(paths)

    def read_frame(self, frame: Frame, name: str) -> ReadCase:
        """Return a frame as an image."""
        return self.model.read_frame(frame, name=name)

    def kind(self, read: ReadCase) -> Hashable:
        """Return the size; None for slices of a volume and for windows, which are batches alone."""
        _, depth, *sides = read.image.shape
        patch = self.model.card.input.patch
        fits = all(side <= most for side, most in zip(sides, patch, strict=True))
        return tuple(sides) if depth == 1 and fits else None

    def find(self, reads: Sequence[ReadCase]) -> list[Labels]:
        """Return the labels of each image."""
        return self.model.segment_together(reads, batch_size=max(self.tiles, len(reads)))

    def write(self, picture: Picture[ReadCase], found: Labels) -> str:
        """Write the masks."""
        read, classes = picture.read, self.model.card.classes
        folder = self.options.output / MASKS
        write_mask(found, classes, read.geometry, folder=folder, name=picture.output)
        volume = read.image.shape[1] > 1 and self.options.overlays
        where = f"; the overlay is of slice {_fullest(found, classes)}" if volume else ""
        turned = orientation_note(read.geometry.orientation, exif=self.model.card.exif)
        return f"{_shares(found, classes)}{where}{read.note}{turned}"

    def draw(self, picture: Picture[ReadCase], found: Labels, path: Path) -> None:
        """Write an image, or a slice of a volume, under its labels."""
        read, classes = picture.read, self.model.card.classes
        z = _fullest(found, classes)
        planes = read.image[:, z], found[..., z, :, :]
        image, labels = (upright(plane, read.geometry) for plane in planes)
        save_overlay(path, image, labels, classes=classes)

    def draw_frame(self, picture: Picture[ReadCase], found: Labels) -> Frame:
        """Return a frame under its labels."""
        image, labels = picture.read.image[:, 0], found[..., 0, :, :]
        return draw_labels(image, labels, classes=self.model.card.classes)


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
            image=upright(loaded.image[:, z], place),
            truth=upright(truth[..., 0, :, :], place),
            prediction=upright(found[..., 0, :, :], place),
            dice=fmean(known) if known else float("nan"),
        )
        samples.append(sample)
    prediction_grid(samples, classes=classes, path=path)


def upright(plane: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
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
