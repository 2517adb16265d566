"""A detector's checkpoint: it carries its architecture, its classes and its preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torchvision.models.detection import FasterRCNN

from backbones import Conventions, build_backbone
from tasks.common.report.advice import without_training
from tasks.common.resume.card import card_dict, card_values, load_network, read_card, with_tuples
from tasks.detection.data.images import Reading
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions


@dataclass(frozen=True, kw_only=True)
class DetectorCard:
    """What a checkpoint says of its detector, in plain values.

    Attributes:
        backbone: Its registered name.
        norm: The backbone's norm.
        in_channels: Channels of the image: 3 is RGB, 1 is gray.
        options: The rest of the architecture.
        classes: Names of the K classes, label 1 first.
        category_ids: The training data's own id of each class.
        mean: Of the preprocessing, per channel, for images in [0, 1].
        std: Of the preprocessing, per channel, for images in [0, 1].
        epsilon: Of the backbone's batch norms.
        provenance: Where the backbone's first weights came from.
        output_stride: The backbone's.
        deformable: The backbone's stages with deformable convolutions.
        deformable_version: Of these, 1 or 2.
        one_based: Whether coordinates of Pascal-VOC files count from 1; not used for COCO files.
        reading: How image files become 8 bits.
    """

    backbone: str
    norm: str
    in_channels: int
    options: DetectorOptions
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epsilon: float
    provenance: str
    output_stride: int = 32
    deformable: tuple[str, ...] = ()
    deformable_version: int = 2
    one_based: bool = True
    reading: Reading = field(default_factory=Reading)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; see `card_dict`."""
        return card_dict(self, task="detection")

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Return the card of which `to_dict` made these values."""
        options = DetectorOptions(**with_tuples(card["options"]))
        return cls(
            **card_values(card)
            | {"options": options, "reading": Reading.from_dict(card.get("reading"))}
        )

    def build(self) -> FasterRCNN:
        """Return the detector with random weights."""
        backbone = build_backbone(
            self.backbone,
            weights="random",
            in_channels=self.in_channels,
            norm=self.norm,
            output_stride=self.output_stride,
            deformable=self.deformable,
            deformable_version=self.deformable_version,
            out_features=self.options.features,
        )
        backbone.adopt(Conventions(mean=self.mean, std=self.std, epsilon=self.epsilon))
        return build_detector(backbone, num_classes=len(self.classes), options=self.options)


def load_detector(
    path: Path,
    *,
    detections_per_image: int | None = None,
    exif: str | None = None,
    range_: tuple[float, ...] | None = None,
) -> tuple[FasterRCNN, DetectorCard]:
    """Return the detector of a checkpoint, in eval mode, and its card.

    Args:
        path: A checkpoint of ``scripts/train_det.py``.
        detections_per_image: How many it returns per image at most; None for as many as in
            training.
        exif: What becomes of images that are to be shown turned; None for what training did.
        range_: Which numbers of images of other types than 8 bits become 0 and 255, the rest being
            cut off; None for what training did.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or is no detector's checkpoint; if ``exif`` or ``range_``
            cannot be.
    """
    checkpoint, card = read_card(path, DetectorCard.from_dict, task="detection")
    if detections_per_image is not None:
        options = replace(card.options, detections_per_image=detections_per_image)
        card = replace(card, options=options)
    if exif is not None:
        card = replace(card, reading=replace(card.reading, exif=exif))
    if range_ is not None:
        with without_training():
            card = replace(card, reading=replace(card.reading, range=range_, clipped=True))
    detector = card.build()
    load_network(detector, checkpoint, path=path)
    return detector.eval().to(memory_format=torch.channels_last), card
