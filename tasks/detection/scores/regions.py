"""Regions of an image with their features, as vision-language models read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from backbones.errors import UserError
from tasks.common.files.atomic import replacing
from tasks.common.files.paths import existing_file
from tasks.detection.scores.trained import Detections, Seen, TrainedDetector

if TYPE_CHECKING:
    from tasks.detection.model.detector import Detector, Proposals

_LAYOUT: Final = 1  # number of the file's layout
_ROWS: Final = ("boxes", "features", "probabilities", "scores", "labels", "spatial")
_OVERLAP: Final = 0.5  # IoU above which the lower score is suppressed, as in the detector


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """How many regions of an image are kept, best first."""

    least: int = 10  # kept whatever their scores, if so many are left after the suppression
    most: int = 100
    threshold: float = 0.2  # lowest score of the others, from 0 to 1

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise UserError(
                f"--min-regions takes 1 to --max-regions={self.most}, got {self.least}."
            )
        if not 0 <= self.threshold <= 1:
            raise UserError(f"--region-threshold takes a score from 0 to 1, got {self.threshold}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """The N best regions of an image of ``height`` x ``width`` pixels, best first.

    A region is a proposal of the detector: the box that its feature was pooled from, not yet
    refined for a class. Its score is its highest class probability among the classes in which no
    better region suppresses it (Anderson et al., arXiv:1707.07998, section 3.1). ``spatial`` is
    x1 / W, y1 / H, x2 / W, y2 / H and the share of the image's area (Lu et al., arXiv:1908.02265,
    section 3.1). An image that was turned upright by its EXIF orientation has the size and the
    boxes of the upright image.
    """

    boxes: NDArray[np.float32]  # (N, 4): x1, y1, x2, y2 in pixels of the image
    features: NDArray[np.float32]  # (N, D): of the last hidden layer of the box head, D = 1024
    probabilities: NDArray[np.float32]  # (N, K + 1): of the background, then of the K classes
    scores: NDArray[np.float32]  # (N,): from 0 to 1
    labels: NDArray[np.int64]  # (N,): of the class with that score, 1 to K
    spatial: NDArray[np.float32]  # (N, 5): from 0 to 1
    classes: tuple[str, ...]  # names of the K classes
    image: str  # name of the image
    height: int
    width: int

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.scores)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the regions of a file with the arrays of `to_arrays`."""
        height, width = arrays["image_size"].tolist()
        names = tuple(arrays["classes"].tolist())
        rows: Any = {name: arrays[name] for name in _ROWS}
        image = str(arrays["image"])
        return cls(**rows, classes=names, image=image, height=height, width=width)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a file by name; docs/regions.md has their layout."""
        own = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        size = np.array([own.pop("height"), own.pop("width")], np.int64)
        return {"layout": np.array(_LAYOUT), "image_size": size, **own}


def detect_regions(
    model: TrainedDetector, image: Seen, *, options: RegionOptions, image_name: str = ""
) -> tuple[Detections, Regions]:
    """Return the detections and the regions of one image, of one forward pass, on the CPU."""
    ((found, regions),) = detect_all_regions(model, [image], options=options)
    return found, replace(regions, image=image_name)


def detect_all_regions(
    model: TrainedDetector, images: Sequence[Seen], *, options: RegionOptions
) -> list[tuple[Detections, Regions]]:
    """Return what `detect_regions` does of each of some images, in one batch; none has a name."""
    with cast("Detector", model.network).recorded_proposals() as recorded:
        found = model.detect(images)
    pairs = zip(found, recorded, strict=True)
    return [(one, _regions(model, one, proposals, options)) for one, proposals in pairs]


def _regions(
    model: TrainedDetector, found: Detections, proposals: "Proposals", options: RegionOptions
) -> Regions:
    probabilities = proposals.logits.float().softmax(dim=1).cpu()
    boxes = proposals.boxes.float().cpu()
    kept, scores, labels = _best(boxes, probabilities, options)
    boxes = _in_image(boxes[kept], proposals.size, found)
    return Regions(
        boxes=boxes.numpy(),
        features=proposals.features.float().cpu()[kept].numpy(),
        probabilities=probabilities[kept].numpy(),
        scores=scores.numpy(),
        labels=labels.numpy(),
        spatial=_spatial(boxes, found).numpy(),
        classes=model.classes,
        image="",
        height=found.height,
        width=found.width,
    )


def _best(
    boxes: Tensor, probabilities: Tensor, options: RegionOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices, scores and labels (N,) of the regions that are kept."""
    scores = torch.zeros(len(boxes))
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    for label in range(1, probabilities.shape[1]):
        own = probabilities[:, label]
        kept = nms(boxes, own, _OVERLAP)
        better = kept[own[kept] > scores[kept]]
        scores[better], labels[better] = own[better], label
    wanted = max(int((scores >= options.threshold).sum()), options.least)
    count = min(wanted, options.most, int((labels > 0).sum()))
    order = scores.argsort(descending=True, stable=True)[:count]
    return order, scores[order], labels[order]


def _in_image(boxes: Tensor, size: tuple[int, int], image: Detections) -> Tensor:
    """Return boxes in pixels of the image, from those of an image resized to ``size``."""
    (height, width), most = size, torch.tensor([image.width, image.height] * 2)
    scaled: Tensor = boxes * (most / torch.tensor([width, height] * 2))
    return scaled.clamp(min=torch.zeros(4), max=most.float())


def _spatial(boxes: Tensor, image: Detections) -> Tensor:
    shares = boxes / torch.tensor([image.width, image.height] * 2)
    area = (shares[:, 2] - shares[:, 0]) * (shares[:, 3] - shares[:, 1])
    return torch.cat([shares, area[:, None]], dim=1)


def write_regions(path: Path, regions: Regions) -> None:
    """Write a compressed ``.npz`` file, completely or not at all."""
    with replacing(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **regions.to_arrays())


def read_regions(path: str | PathLike[str]) -> Regions:
    """Return the regions in a file of ``predict.py --regions``; nothing in it is run.

    A file that does not exist is a FileNotFoundError, a damaged or other one a UserError.
    """
    file = existing_file(Path(path), what="file of regions")
    fault = f"{file} is damaged, or no file of regions; write it with predict.py --regions."
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        if (layout := int(arrays["layout"])) != _LAYOUT:
            fault = f"{file} has layout {layout}, and this version of Keel reads {_LAYOUT}."
        whole = layout == _LAYOUT and _is_whole(arrays)
    except Exception:  # zipfile, zlib and NumPy raise a dozen kinds of errors on damaged files
        raise UserError(fault) from None
    if not whole:
        raise UserError(fault)
    return Regions.from_arrays(arrays)


def _is_whole(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether the arrays have the types and shapes of docs/regions.md."""
    labels, (count,), (classes,) = arrays["labels"], arrays["scores"].shape, arrays["classes"].shape
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "boxes": (np.float32, (count, 4)),
        "features": (np.float32, (count, arrays["features"].shape[-1])),
        "probabilities": (np.float32, (count, classes + 1)),
        "scores": (np.float32, (count,)),
        "labels": (np.int64, (count,)),
        "spatial": (np.float32, (count, 5)),
        "classes": (np.str_, (classes,)),
        "image": (np.str_, ()),
        "image_size": (np.int64, (2,)),
    }
    return bool(((labels >= 1) & (labels <= classes)).all()) and all(
        np.issubdtype(arrays[name].dtype, type_) and arrays[name].shape == shape
        for name, (type_, shape) in expected.items()
    )
