"""What is particular to the export of a detector: one image at a time, of any size."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from backbones.errors import UserError
from tasks.common.export.comparing import Agreement, compare_detections
from tasks.common.export.formats import INSIDE
from tasks.common.export.keel_runtime import Detections, Model
from tasks.common.export.run_data import drawn
from tasks.common.export.subject import Graph, Image, Subject
from tasks.detection.data.images import read_image
from tasks.detection.data.splits import Splits, read_splits
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.detector import Detector
from tasks.detection.scores.metrics import coco_ap, to_results
from tasks.detection.scores.trained import TrainedDetector

_EXAMPLE: Final = (96, 128)  # height and width


class ExportedDetector(Subject):
    """A trained detector, with the splits of its run where they can be read."""

    card: DetectorCard

    metric = "AP"
    tries_empty = True
    resizes = True

    def __init__(self, model: TrainedDetector, *, checkpoint: Path) -> None:
        super().__init__(model, checkpoint=checkpoint)
        self.model = model

    def read_splits(self, cfg: DictConfig) -> Splits:
        """See `Subject`."""
        return read_splits(cfg.data, policy="skip", detector=self.card.options)

    def place(self, wanted: str | None) -> str:
        """See `Subject`."""
        return wanted or INSIDE

    def graph(self, network: nn.Module, *, place: str) -> Graph:
        """See `Subject`."""
        channels, inside = self.card.in_channels, place == INSIDE
        detector = copy.copy(cast("Detector", network))
        detector.transform = (_Resize if inside else _Pad).like(detector.transform)
        made = torch.Generator().manual_seed(0)
        image = torch.randint(0, 256, (1, *_EXAMPLE, channels), generator=made, dtype=torch.uint8)
        if not inside:
            image = image.permute(0, 3, 1, 2).float() / 255
        return Graph(
            module=_OneImage(detector, inside=inside).eval(),
            example=image,
            layout="NHWC" if inside else "NCHW",
            outputs=("boxes", "labels", "scores"),
            free=(1, 2) if inside else (2, 3),
            multiple=32,
            network=r"^/detector/(backbone|rpn/head|roi_heads/box_(head|predictor))/",
            last=r"/(cls_logits|bbox_pred|cls_score)/",
        )

    def facts(self, *, place: str) -> dict[str, Any]:
        """See `Subject`."""
        card, options = self.card, self.card.options
        return {
            "image_channels": card.in_channels,
            "preprocessing": {
                "where": place,
                "steps": "numbers / 255; minus mean, divided by std; resized so that the shorter "
                "side is min_size, the longer at most max_size, by torch's bilinear interpolation "
                "(align_corners=False, no antialias); boxes are in pixels of the file's input",
                "mean": list(card.conventions.mean),
                "std": list(card.conventions.std),
                "min_size": options.min_size,
                "max_size": options.max_size,
            },
            "reading": {
                "exif": card.reading.exif,
                "range": list(card.reading.range),
                "clipped": card.reading.clipped,
                "colours": "convert",
            },
        }

    def results(self) -> dict[str, Any]:
        """See `Subject`."""
        options = self.card.options
        return {
            "category_ids": list(self.card.category_ids),
            "thresholds": {
                "score": options.score_threshold,
                "nms_iou": self.network.roi_heads.nms_thresh,
                "class_agnostic_nms": options.class_agnostic_nms,
                "detections_per_image": options.detections_per_image,
                "rpn_nms_iou": self.network.rpn.nms_thresh,
            },
        }

    def images(self, split: str, count: int, *, seed: int) -> list[Image]:
        """See `Subject`."""
        splits: Splits | None = self.splits
        if splits is None:
            return []
        records = splits.by_name()[split].images
        chosen = [records[k] for k in drawn(len(records), count, seed=seed)]
        return [np.atleast_3d(self._read(record.path)) for record in chosen]

    def _read(self, path: Path) -> NDArray[np.uint8]:
        return read_image(path, in_channels=self.card.in_channels, reading=self.card.reading)

    def eager(self, image: Image) -> Detections:
        """Return what the network finds in an image (H, W, C)."""
        (found,) = self.model.detect([image])
        return Detections(found.boxes, found.labels, found.scores)

    def compare(self, model: Model, images: Sequence[Image]) -> Agreement:
        """See `Subject`."""
        options = self.card.options
        return compare_detections(
            ((self.eager(image), model.detect(image)) for image in images),
            threshold=options.score_threshold,
            most=options.detections_per_image,
        )

    def score(self, model: Model) -> float:
        """See `Subject`; COCO's AP."""
        splits: Splits | None = self.splits
        if splits is None:
            raise UserError(f"{self.data_note}, so no score can be measured.")
        results = []
        for record in splits.val.images:
            found = model.detect(np.atleast_3d(self._read(record.path)))._asdict()
            tensors = {name: torch.from_numpy(value) for name, value in found.items()}
            results += to_results(
                tensors, image_id=record.image_id, category_ids=splits.val.category_ids
            )
        limit = self.card.options.scored_detections
        return coco_ap(splits.val.truth, results, limit=limit)["ap"]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See `Subject`; of the graph with images prepared outside."""
        options, channels = self.card.options, self.card.in_channels
        low, high = 32, -(-options.max_size // 32) * 32
        usual = min(options.min_size, high)
        sizes = {"min": low, "opt": usual, "max": high}
        return {name: (1, channels, side, side) for name, side in sizes.items()}


class _OneImage(nn.Module):
    """One image in, (1, H, W, C) of 8 bits or (1, C, H, W) prepared; boxes, labels, scores out."""

    def __init__(self, detector: Detector, *, inside: bool) -> None:
        super().__init__()
        self.detector = detector
        self.inside = inside

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image = images[0]
        if self.inside:
            image = image.permute(2, 0, 1).float() / 255
        (found,) = self.detector([image])
        return found["boxes"], found["labels"], found["scores"]


class _Resize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's, whose size is traced in float64, as it is computed in eager mode.

    torchvision traces it in float32: sides of some images come out a pixel shorter.
    """

    @classmethod
    def like(cls, transform: GeneralizedRCNNTransform) -> "_Resize":
        """Return one with the settings of torchvision's."""
        sizes, statistics = (
            (transform.min_size, transform.max_size),
            (transform.image_mean, transform.image_std),
        )
        made = cls(*sizes, *statistics, size_divisible=transform.size_divisible)
        made.eval()
        return made

    def resize(self, image: Tensor, target: None = None) -> tuple[Tensor, None]:
        """Return an image (C, H, W) in the size that torchvision gives it."""
        # Every operation is one that the exporter keeps in float64: a number divided by a tensor
        # becomes a product with its reciprocal, and what follows a minimum float32 if not told.
        sides = torch._shape_as_tensor(image)[1:]
        wanted = torch.tensor([self.min_size[-1], self.max_size], dtype=torch.float64)
        factors = wanted / torch.stack([sides.min(), sides.max()]).double()
        height, width = (sides.double() * factors.min().double()).long()
        resized = F.interpolate(
            image[None], size=(height, width), mode="bilinear", align_corners=False
        )
        return resized[0], target


class _Pad(_Resize):
    """Of torchvision's transform only the padding to a multiple of 32."""

    def normalize(self, image: Tensor) -> Tensor:
        """Return the image, which is normalised."""
        return image

    def resize(self, image: Tensor, target: None = None) -> tuple[Tensor, None]:
        """Return the image, which has its size."""
        return image, target
