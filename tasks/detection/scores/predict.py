"""Run a trained detector on image files, and show what it finds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.files.input_files import NamedFile, find_files, output_names, skipped_error
from tasks.common.files.paths import IMAGE_SUFFIXES
from tasks.common.images.orientation import orientation_note
from tasks.common.report.advice import without_training
from tasks.common.report.panels import save_picture
from tasks.common.report.run_folder import write_json
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.model.card import DetectorCard
from tasks.detection.scores.metrics import Result, to_results
from tasks.detection.scores.pictures import PredictionSample, draw_boxes, prediction_grid
from tasks.detection.scores.regions import RegionOptions, detect_regions, write_regions
from tasks.detection.scores.trained import Detections, TrainedDetector

OVERLAYS: Final = "overlays"
REGIONS: Final = "regions"


def find_images(sources: Sequence[str | Path], *, output: Path) -> list[NamedFile]:
    """Return the image files of a command line; see `find_files`."""
    return find_files(sources, suffixes=IMAGE_SUFFIXES, written=[output / OVERLAYS])


def predict_files(
    model: TrainedDetector,
    files: Sequence[NamedFile],
    *,
    output: Path,
    threshold: float,
    image_ids: Sequence[int] | None = None,
    regions: RegionOptions | None = None,
) -> Iterator[str]:
    """Detect in every file; write overlays and ``predictions.json``; yield a line per file.

    ``predictions.json`` is in COCO's results format, every detection in it, with the training
    data's category ids; only overlays leave out scores below ``threshold``. ``images.json`` has the
    files' ids (1, 2, ... unless given) and the categories. Both are written however the loop ends.
    With ``regions`` the region features of each file are written too, see `Regions`. A file that
    cannot be read is skipped, and an error after the last one.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold takes a score from 0 to 1, got {threshold!r}.")
    overlays = output_names([file.name for file in files], suffixes=IMAGE_SUFFIXES)
    ids = range(1, len(files) + 1) if image_ids is None else image_ids
    card = model.card
    done: list[tuple[dict[str, Any], list[Result]]] = []
    faults: dict[str, Exception] = {}
    try:
        for file, overlay, number in zip(files, overlays, ids, strict=True):
            try:
                with without_training():
                    image, orientation = model.read_file(file.path)
            except (OSError, ValueError) as error:
                faults[file.name] = error
                yield f"{file.name}: skipped, {error}"
                continue
            found = _detect(model, image, regions, output / REGIONS / f"{overlay}.npz", file.name)
            size = {"height": found.height, "width": found.width}
            entry = {"id": number, "file_name": file.name, **size}
            results = to_results(found.tensors(), image_id=number, category_ids=card.category_ids)
            done.append((entry, results))
            shown = found.above(threshold)
            save_picture(_overlay(image, shown, card), output / OVERLAYS / f"{overlay}.png")
            counts = f"{len(shown)} of {len(found)} detections shown"
            yield f"{file.name}: {counts}{orientation_note(orientation, exif=card.reading.exif)}"
    finally:
        if done:
            _write(done, card, output=output)
    if faults:
        raise skipped_error(faults, total=len(files), output=output)


def _detect(
    model: TrainedDetector,
    image: NDArray[np.uint8],
    options: RegionOptions | None,
    path: Path,
    name: str,
) -> Detections:
    """Return the detections of an image, and write its regions if they are wanted."""
    if options is None:
        return model.detect([image])[0]
    found, regions = detect_regions(model, image, options=options, image_name=name)
    write_regions(path, regions)
    return found


def _overlay(image: NDArray[np.uint8], found: Detections, card: DetectorCard) -> NDArray[np.uint8]:
    return draw_boxes(image, found.boxes, found.labels, classes=card.classes, scores=found.scores)


def _write(
    done: Sequence[tuple[dict[str, Any], list[Result]]], card: DetectorCard, *, output: Path
) -> None:
    pairs = zip(card.category_ids, card.classes, strict=True)
    categories = [{"id": number, "name": name} for number, name in pairs]
    images = [entry for entry, _ in done]
    write_json(output / "images.json", {"images": images, "categories": categories})
    write_json(output / "predictions.json", [one for _, results in done for one in results])


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
