"""Run a trained detector on image files, and show what it finds."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from tasks.common.paths import IMAGE_SUFFIXES, listed
from tasks.common.run_folder import write_json
from tasks.detection.annotations import Annotations
from tasks.detection.checkpoint import DetectorCard
from tasks.detection.dataset import DetectionDataset, read_image
from tasks.detection.metrics import to_results
from tasks.detection.pictures import PredictionSample, prediction_grid, save_overlay


def find_images(source: Path) -> list[Path]:
    """Return the image files that ``source`` stands for, sorted.

    Args:
        source: An image file, or a folder, whose images (not those of its folders) are taken.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no image in it.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"no file or folder {str(source)!r}; give an image or a folder.")
    found = sorted(file for file in source.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise FileNotFoundError(
            f"no image in {str(source)!r}; expected files that end in {', '.join(IMAGE_SUFFIXES)}."
        )
    return found


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
    files: Sequence[Path],
    *,
    output: Path,
    threshold: float,
    image_ids: dict[str, int] | None = None,
) -> Iterator[str]:
    """Detect in every file; write overlays and ``predictions.json``; yield a line per file.

    ``predictions.json`` is in COCO's results format, every detection in it, with the training
    data's category ids. ``images.json`` has the files' ids and the categories. Every file is read
    once before the first detection, so that a damaged one does not end a long run half way.

    Args:
        detector: In eval mode.
        card: Of the same checkpoint.
        files: Images.
        output: The folder to write.
        threshold: Detections below it are left out of the overlays.
        image_ids: Ids by file name, such as those of an annotation file; 1, 2, ... when None.

    Raises:
        ValueError: If files are missing, no images or truncated, or have no id, or ``threshold`` is
            no score; before anything is written.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold takes a score from 0 to 1, got {threshold!r}.")
    ids = (
        image_ids
        if image_ids is not None
        else {file.name: number for number, file in enumerate(files, start=1)}
    )
    _check_files(files, ids, in_channels=card.in_channels)
    results, images = [], []
    same = Counter(file.stem for file in files)  # a.jpg beside a.png
    for file in files:
        image = read_image(file, in_channels=card.in_channels)
        found = detect(detector, image)
        number = ids[file.name]
        results += to_results(found, image_id=number, category_ids=card.category_ids)
        height, width = image.shape[:2]
        images.append({"id": number, "file_name": file.name, "height": height, "width": width})
        shown = {name: value[found["scores"] >= threshold] for name, value in found.items()}
        save_overlay(
            output / "overlays" / f"{file.stem if same[file.stem] == 1 else file.name}.png",
            image,
            shown["boxes"].numpy(),
            shown["labels"].numpy(),
            classes=card.classes,
            scores=shown["scores"].numpy(),
        )
        yield f"{file.name}: {len(shown['labels'])} of {len(found['labels'])} detections shown"
    categories = zip(card.category_ids, card.classes, strict=True)
    write_json(
        output / "images.json",
        {"images": images, "categories": [{"id": i, "name": name} for i, name in categories]},
    )
    write_json(output / "predictions.json", results)


def _check_files(files: Sequence[Path], ids: Mapping[str, int], *, in_channels: int) -> None:
    """Raise unless every file has an id and can be read."""
    if unknown := [file.name for file in files if file.name not in ids]:
        raise ValueError(
            f"{len(unknown)} of {len(files)} files are not in the annotation file, such as "
            f"{unknown[0]!r}; predict without it, or give its images."
        )
    damaged: dict[str, Exception] = {}
    for file in files:
        try:
            read_image(file, in_channels=in_channels)
        except (OSError, ValueError) as error:
            damaged[file.name] = error
    if damaged:
        raise ValueError(
            f"{len(damaged)} of {len(files)} files cannot be read: {listed(list(damaged))}; "
            f"expected images. The first: {next(iter(damaged.values()))}"
        )


def read_image_ids(annotation_file: Path) -> dict[str, int]:
    """Return the image ids of a COCO annotation file by file name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no COCO file.
    """
    try:
        images: list[dict[str, Any]] = json.loads(annotation_file.read_text())["images"]
        return {Path(entry["file_name"]).name: int(entry["id"]) for entry in images}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{annotation_file} is no COCO annotation file ({error!r}); expected 'images' with "
            "'id' and 'file_name'."
        ) from error


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
