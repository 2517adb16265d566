"""Run a trained detector on image files, and show what it finds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from tasks.common.files.paths import IMAGE_SUFFIXES
from tasks.common.files.sources import NamedFile, find_files, output_names, skipped_error
from tasks.common.images.orientation import orientation_note
from tasks.common.report.advice import without_training
from tasks.common.report.run_folder import write_json
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.data.images import open_image
from tasks.detection.model.card import DetectorCard
from tasks.detection.scores.metrics import Result, to_results
from tasks.detection.scores.pictures import PredictionSample, prediction_grid, save_overlay

OVERLAYS: Final = "overlays"


def find_images(sources: Sequence[str | Path], *, output: Path) -> list[NamedFile]:
    """Return the image files of a command line; see `find_files`.

    Args:
        sources: Images, folders and patterns.
        output: The folder to write; overlays in it are not taken for images.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no image in it.
    """
    return find_files(sources, suffixes=IMAGE_SUFFIXES, written=[output / OVERLAYS])


@torch.inference_mode()
def detect(detector: FasterRCNN, image: NDArray[np.uint8]) -> dict[str, Tensor]:
    """Return what a detector finds in one image, on the CPU.

    Args:
        detector: In eval mode.
        image: (H, W, 3) RGB or (H, W) gray, uint8, as the detector was trained on.

    Returns:
        ``boxes`` (B, 4), xyxy in pixels of ``image``, ``labels`` (B,) in 1..K, ``scores`` (B,),
        best first.
    """
    pixels = torch.from_numpy(np.atleast_3d(image)).permute(2, 0, 1)  # (C, H, W)
    device = next(detector.parameters()).device
    (found,) = detector([pixels.to(device).float() / 255])
    return {name: value.cpu() for name, value in found.items()}


def predict_files(
    detector: FasterRCNN,
    card: DetectorCard,
    files: Sequence[NamedFile],
    *,
    output: Path,
    threshold: float,
    image_ids: Sequence[int] | None = None,
) -> Iterator[str]:
    """Detect in every file; write overlays and ``predictions.json``; yield a line per file.

    ``predictions.json`` is in COCO's results format, every detection in it, with the training
    data's category ids. ``images.json`` has the files' ids and the categories. Files are called by
    their paths below the folder that holds all of them, overlays as well. What cannot be read is
    skipped. Both JSON files are written however the loop ends, with what was done until then; close
    the iterator if it is left early.

    Args:
        detector: In eval mode.
        card: Of the same checkpoint.
        files: From `find_images`.
        output: The folder to write.
        threshold: Detections below it are left out of the overlays.
        image_ids: Of the files; 1, 2, ... when None.

    Raises:
        ValueError: If ``threshold`` is no score or two files would have one overlay, before
            anything is written; after the last file, if some had to be skipped.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold takes a score from 0 to 1, got {threshold!r}.")
    overlays = output_names([file.name for file in files], suffixes=IMAGE_SUFFIXES)
    ids = range(1, len(files) + 1) if image_ids is None else image_ids
    done: list[tuple[dict[str, Any], list[Result]]] = []
    faults: dict[str, Exception] = {}
    try:
        for file, overlay, number in zip(files, overlays, ids, strict=True):
            try:
                with without_training():
                    image, orientation = open_image(
                        file.path, in_channels=card.in_channels, reading=card.reading
                    )
            except (OSError, ValueError) as error:
                faults[file.name] = error
                yield f"{file.name}: skipped, {error}"
                continue
            found = detect(detector, image)
            done.append(_entry(file, found, image, number=number, card=card))
            shown = {name: value[found["scores"] >= threshold] for name, value in found.items()}
            save_overlay(
                output / OVERLAYS / f"{overlay}.png",
                image,
                shown["boxes"].numpy(),
                shown["labels"].numpy(),
                classes=card.classes,
                scores=shown["scores"].numpy(),
            )
            note = orientation_note(orientation, exif=card.reading.exif)
            count = f"{len(shown['labels'])} of {len(found['labels'])} detections shown"
            yield f"{file.name}: {count}{note}"
    finally:
        if done:
            _write(done, card, output=output)
    if faults:
        raise skipped_error(faults, total=len(files), output=output)


def _entry(
    file: NamedFile,
    found: Mapping[str, Tensor],
    image: NDArray[np.uint8],
    *,
    number: int,
    card: DetectorCard,
) -> tuple[dict[str, Any], list[Result]]:
    """Return what COCO's formats say of an image and of what was found in it."""
    height, width = image.shape[:2]
    entry = {"id": number, "file_name": file.name, "height": height, "width": width}
    return entry, to_results(found, image_id=number, category_ids=card.category_ids)


def _write(
    done: Sequence[tuple[dict[str, Any], list[Result]]], card: DetectorCard, *, output: Path
) -> None:
    """Write ``images.json`` and ``predictions.json``."""
    pairs = zip(card.category_ids, card.classes, strict=True)
    categories = [{"id": number, "name": name} for number, name in pairs]
    images = [entry for entry, _ in done]
    write_json(output / "images.json", {"images": images, "categories": categories})
    write_json(output / "predictions.json", [one for _, results in done for one in results])


def draw_predictions(
    detector: FasterRCNN, card: DetectorCard, split: Annotations, path: Path, *, count: int = 8
) -> None:
    """Write a picture of truth beside prediction for images spread over a split.

    Args:
        detector: In eval mode.
        card: Of the same checkpoint.
        split: Where the images come from; those with boxes are preferred.
        path: The .png to write.
        count: How many images.
    """
    dataset = DetectionDataset(split, in_channels=card.in_channels)
    indices = sorted(range(len(dataset)), key=lambda i: not len(split.images[i].boxes))
    indices = indices[: max(count, sum(len(record.boxes) > 0 for record in split.images))]
    chosen = indices[:: max(1, len(indices) // count)][:count]
    crowds = [entry for entry in split.truth["annotations"] if entry["iscrowd"]]
    samples = []
    for index in chosen:
        record = split.images[index]
        image = dataset[index][0].permute(1, 2, 0).numpy().squeeze()
        found = detect(detector, image)
        regions = [c["bbox"] for c in crowds if c["image_id"] == record.image_id]
        xywh = np.array(regions, np.float32).reshape(-1, 4)
        samples.append(
            PredictionSample(
                image=image,
                heading=record.path.name,
                truth_boxes=record.boxes,
                truth_labels=record.labels,
                boxes=found["boxes"].numpy(),
                labels=found["labels"].numpy(),
                scores=found["scores"].numpy(),
                crowd_boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
            )
        )
    prediction_grid(samples, classes=card.classes, path=path)
