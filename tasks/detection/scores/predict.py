"""Run a trained detector on image files and videos, and show what it finds."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.files.input_files import NamedFile, find_files, output_names, refuse_same
from tasks.common.files.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from tasks.common.images.orientation import UPRIGHT, orientation_note
from tasks.common.images.videos import Frame, is_video
from tasks.common.predict.predict import OVERLAYS, PredictOptions, predict
from tasks.common.predict.predictor import Picture, Predictor, Source
from tasks.common.report.panels import save_picture
from tasks.common.report.progress import Step
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.scores.pictures import PredictionSample, draw_boxes, prediction_grid
from tasks.detection.scores.regions import (
    RegionOptions,
    Regions,
    detect_all_regions,
    write_regions,
)
from tasks.detection.scores.result_files import RESULT_FILES, FoundIn, ResultFile
from tasks.detection.scores.trained import Detections, TrainedDetector

REGIONS: Final = "regions"


@dataclass(frozen=True, kw_only=True)
class _Image:
    pixels: NDArray[np.uint8]  # (H, W, 3) or (H, W)
    orientation: int  # EXIF's, 1 to 8


_Found = tuple[Detections, Regions | None]


def find_images(sources: Sequence[str | Path], *, output: Path) -> list[NamedFile]:
    """Return the images and videos of a command line; see `find_files`."""
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    return find_files(sources, suffixes=suffixes, written=[output / OVERLAYS])


def predict_files(
    model: TrainedDetector,
    files: Sequence[NamedFile],
    options: PredictOptions,
    *,
    threshold: float,
    formats: Sequence[str] = ("coco",),
    image_ids: Sequence[int] | None = None,
    regions: RegionOptions | None = None,
) -> Iterator[Step]:
    """Detect in every file, and write overlays and results; yield what `predict` does.

    ``formats`` are of `RESULT_FILES`; COCO's and the table hold every detection, the others, as the
    overlays, those with a score from ``threshold`` on. Pictures have the ids 1, 2, ... unless
    ``image_ids`` has those of the files. With ``regions`` the region features of each picture are
    written too, see `Regions`.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold takes a score from 0 to 1, got {threshold!r}.")
    outputs = output_names([file.name for file in files], suffixes=IMAGE_SUFFIXES)
    if {"yolo", "yolo-labels"} & set(formats):
        _refuse_one_label_file(files)
    names = [file.name for file in files]
    predictor = _DetectorPredictor(
        model=model,
        options=options,
        threshold=threshold,
        results=[RESULT_FILES[name](options.output, model.card) for name in formats],
        image_ids={} if image_ids is None else dict(zip(names, image_ids, strict=True)),
        regions=regions,
    )
    sources = [
        Source(name=file.name, output=output, paths=(file.path,))
        for file, output in zip(files, outputs, strict=True)
    ]
    yield from predict(predictor, sources, options)


def _refuse_one_label_file(files: Sequence[NamedFile]) -> None:
    """Raise UserError if two images would have one label file of YOLO's, which has no suffix."""
    stems = {file.name: Path(file.name).with_suffix("").as_posix() for file in files}
    refuse_same({name: [stem] for name, stem in stems.items() if not is_video(Path(name))})


@dataclass(kw_only=True, eq=False)
class _DetectorPredictor(Predictor[_Image, _Found]):
    model: TrainedDetector
    options: PredictOptions
    threshold: float
    results: Sequence[ResultFile]
    image_ids: Mapping[str, int]  # by the names of files; empty to count them
    regions: RegionOptions | None
    begun: bool = False  # whether a picture has been written

    def read(self, paths: Sequence[Path]) -> _Image:
        """Return the pixels as the detector sees them."""
        pixels, orientation = self.model.read_file(paths[0])
        return _Image(pixels=pixels, orientation=orientation)

    def read_frame(self, frame: Frame, name: str) -> _Image:
        """Return the pixels as the detector sees them; `UPRIGHT`, as OpenCV turns frames."""
        return _Image(pixels=self.model.seen(frame, name=name), orientation=UPRIGHT)

    def kind(self, read: _Image) -> Hashable:
        """Return the size of the padded input."""
        return self.model.kind(read.pixels)

    def find(self, reads: Sequence[_Image]) -> list[_Found]:
        """Return the detections, and the regions if they are wanted, of each image."""
        pixels = [read.pixels for read in reads]
        if self.regions is None:
            return [(found, None) for found in self.model.detect(pixels)]
        return list(detect_all_regions(self.model, pixels, options=self.regions))

    def write(self, picture: Picture[_Image], found: _Found) -> str:
        """Write the picture's own files, and keep what comes into those of all."""
        detections, regions = found
        shown = detections.above(self.threshold)
        number = self.image_ids.get(picture.name, picture.number)
        entry = FoundIn(
            number=number, name=picture.name, output=picture.output, all=detections, shown=shown
        )
        if regions is not None:
            path = self.options.output / REGIONS / f"{picture.output}.npz"
            write_regions(path, replace(regions, image=picture.name))
        for result in self.results:
            result.add(entry)
        self.begun = True
        note = orientation_note(picture.read.orientation, exif=self.model.card.reading.exif)
        what = "shown" if self.options.overlays else f"of a score from {self.threshold:g} on"
        return f"{len(shown)} of {len(detections)} detections {what}{note}"

    def draw(self, picture: Picture[_Image], found: _Found, path: Path) -> None:
        """Write the image with the boxes that are shown."""
        save_picture(self.draw_frame(picture, found), path)

    def draw_frame(self, picture: Picture[_Image], found: _Found) -> NDArray[np.uint8]:
        """Return the image with the boxes that are shown."""
        shown, classes = found[0].above(self.threshold), self.model.card.classes
        pixels = picture.read.pixels
        return draw_boxes(pixels, shown.boxes, shown.labels, classes=classes, scores=shown.scores)

    def finish(self) -> None:
        """Write the files that hold the results of all pictures."""
        if self.begun:
            for result in self.results:
                result.finish()


def draw_predictions(
    model: TrainedDetector, split: Annotations, path: Path, *, count: int = 8
) -> None:
    """Write truth beside prediction for images spread over a split, preferably with boxes."""
    dataset = DetectionDataset(split, in_channels=model.card.in_channels)
    by_boxes = sorted(range(len(dataset)), key=lambda i: not len(split.images[i].boxes))
    with_boxes = sum(len(record.boxes) > 0 for record in split.images)
    indices = by_boxes[: max(count, with_boxes)]
    crowds = [entry for entry in split.truth["annotations"] if entry["iscrowd"]]
    samples = []
    for index in indices[:: max(1, len(indices) // count)][:count]:
        record = split.images[index]
        image = dataset[index][0].permute(1, 2, 0).numpy().squeeze()
        (found,) = model.detect([image])
        regions = [c["bbox"] for c in crowds if c["image_id"] == record.image_id]
        xywh = np.array(regions, np.float32).reshape(-1, 4)
        samples.append(
            PredictionSample(
                image=image,
                heading=record.path.name,
                truth_boxes=record.boxes,
                truth_labels=record.labels,
                boxes=found.boxes,
                labels=found.labels,
                scores=found.scores,
                crowd_boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
            )
        )
    prediction_grid(samples, classes=model.classes, path=path)
