"""A detector's checkpoint: it carries its architecture, its classes and its preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import torch

from backbones.errors import UserError
from tasks.common.options.limits import is_integer
from tasks.common.resume.card import (
    NetworkCard,
    TaskNames,
    built,
    card_values,
    load_network,
    nested,
    read_card,
)
from tasks.detection.data.images import Reading
from tasks.detection.model.detector import Detector
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions

_STRUCTURE: Final = ("head", "head_width", "features", "fpn_channels", "fpn_norm", "anchor_sizes")
"""Options that decide the shape and the meaning of a detector's tensors."""


@dataclass(frozen=True, kw_only=True)
class DetectorCard(NetworkCard):
    """What a checkpoint says of its detector; ``category_ids`` are the training data's.

    ``one_based`` says whether coordinates of Pascal-VOC files count from 1.
    """

    NAMES = TaskNames(
        task="detection", noun="detector", script="scripts/train_det.py", runs="runs/detection"
    )
    CLASS_ROWS = {  # noqa: RUF012 (a constant of the base class)
        "roi_heads.box_predictor.cls_score.*": 1,
        "roi_heads.box_predictor.bbox_pred.*": 4,
    }
    BACKGROUND = 1

    options: DetectorOptions
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    one_based: bool = True
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        """Refuse classes without names, and other ids than one per class."""
        ids = self.category_ids
        if not self.classes or not all(name and isinstance(name, str) for name in self.classes):
            raise UserError(f"classes is {self.classes!r}, expected names")
        if len(ids) != len(self.classes) or not all(map(is_integer, ids)):
            raise UserError(
                f"category_ids is {ids!r}, expected {len(self.classes)} integers, one per class"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, label 1 first."""
        return self.classes

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Return the card of which `to_dict` made these values."""
        parts = {
            "options": DetectorOptions(**nested(card, "options")),
            "reading": Reading.from_dict(nested(card, "reading") if "reading" in card else None),
        }
        return cls(**card_values(card, in_channels=card["in_channels"]) | parts)

    def architecture(self) -> dict[str, Any]:
        """Return what decides how the detector is built, by option."""
        own = {f"model.{name}": getattr(self.options, name) for name in _STRUCTURE}
        return super().architecture() | own

    def build(self) -> Detector:
        """Return the detector with random weights."""
        backbone = self.new_backbone(self.options.features)
        return build_detector(backbone, num_classes=len(self.classes), options=self.options)


def restore_detector(
    path: Path,
    *,
    detections_per_image: int | None = None,
    exif: str | None = None,
    range_: tuple[float, ...] | None = None,
) -> tuple[Detector, DetectorCard]:
    """Return the detector of a checkpoint, in eval mode, and its card; None is as in training.

    ``range_`` are the numbers of images of more than 8 bits that become 0 and 255, the rest cut
    off. A damaged file, or none of a detector, is refused.
    """
    checkpoint, card = read_card(path, DetectorCard)
    if detections_per_image is not None:
        options = replace(card.options, detections_per_image=detections_per_image)
        card = replace(card, options=options)
    if exif is not None:
        card = replace(card, reading=replace(card.reading, exif=exif))
    if range_ is not None:
        card = replace(card, reading=replace(card.reading, range=range_, clipped=True))
    detector: Detector = built(card, checkpoint)
    load_network(detector, checkpoint, card, path=path)
    return detector.eval().to(memory_format=torch.channels_last), card
