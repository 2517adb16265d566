"""A segmenter's checkpoint: it carries its architecture, its classes and its preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from backbones import Conventions, build_backbone
from tasks.common.images.orientation import check_exif
from tasks.common.resume.card import card_dict, card_values, load_network, read_card, with_tuples
from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.data.dataset import Preprocessing
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions


@dataclass(frozen=True, kw_only=True)
class SegmenterCard:
    """What a checkpoint says of its segmenter, in plain values.

    Attributes:
        backbone: Its registered name.
        norm: The backbone's norm.
        channels: Of an image, before neighbouring slices are added.
        options: The decoder's, with nothing left to ``auto``.
        classes: Names, and the mask values that predictions are written with.
        input: How images become what the network sees, with nothing left to ``auto``.
        axis: Which axis of a volume the slices lie along; see `CaseSet`.
        mean: Of the preprocessing, per channel of the network's input.
        std: Of the preprocessing, per channel of the network's input.
        epsilon: Of the backbone's batch norms.
        provenance: Where the backbone's first weights came from.
        output_stride: The backbone's.
        deformable: The backbone's stages with deformable convolutions.
        deformable_version: Of these, 1 or 2.
        exif: What becomes of images that are to be shown turned; see `CaseSet`. Checkpoints that do
            not say used them as stored.
        gray_or_rgb: Whether flat images are gray or RGB, and those of the other kind become like
            them. Checkpoints that do not say take no other kind.
    """

    backbone: str
    norm: str
    channels: int
    options: UNetOptions
    classes: ClassTable
    input: InputOptions
    axis: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epsilon: float
    provenance: str
    output_stride: int = 32
    deformable: tuple[str, ...] = ()
    deformable_version: int = 2
    exif: str = "ignore"
    gray_or_rgb: bool = False

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return self.channels * (2 * self.input.neighbours + 1)

    @property
    def image_channels(self) -> int | None:
        """What gray and RGB images are given; see `tasks.segmentation.data.colour.fitted`."""
        return self.channels if self.gray_or_rgb else None

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to every slice."""
        return Preprocessing(mean=self.mean, std=self.std, neighbours=self.input.neighbours)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; see `card_dict`."""
        return card_dict(self, task="segmentation")

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Return the card of which `to_dict` made these values."""
        classes = with_tuples(card["classes"])
        classes["values"] = tuple(tuple(values) for values in classes["values"])
        parts = {
            "options": UNetOptions(**with_tuples(card["options"])),
            "input": InputOptions(**with_tuples(card["input"])),
            "classes": ClassTable(**classes),
        }
        return cls(**card_values(card) | parts)

    def build(self) -> ResNetUNet:
        """Return the segmenter with random weights."""
        backbone = build_backbone(
            self.backbone,
            weights="random",
            in_channels=self.in_channels,
            norm=self.norm,
            output_stride=self.output_stride,
            deformable=self.deformable,
            deformable_version=self.deformable_version,
        )
        backbone.adopt(Conventions(mean=self.mean, std=self.std, epsilon=self.epsilon))
        return ResNetUNet(
            backbone,
            num_classes=len(self.classes.names),
            in_channels=self.in_channels,
            options=self.options,
        )


def load_segmenter(path: Path, *, exif: str | None = None) -> tuple[ResNetUNet, SegmenterCard]:
    """Return the segmenter of a checkpoint, in eval mode, and its card.

    Args:
        path: A checkpoint of ``scripts/train_seg.py``.
        exif: What becomes of images that are to be shown turned; None for what training did.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or is no segmenter's checkpoint.
    """
    checkpoint, card = read_card(path, SegmenterCard.from_dict, task="segmentation")
    if exif is not None:
        check_exif(exif)
        card = replace(card, exif=exif)
    segmenter = card.build()
    load_network(segmenter, checkpoint, path=path)
    return segmenter.eval(), card
