"""A segmenter's checkpoint: it carries its architecture, its classes and its preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from backbones import Backbone
from backbones.errors import UserError
from tasks.common.images.orientation import check_exif
from tasks.common.options.limits import is_integer
from tasks.common.resume.card import (
    Classes,
    NetworkCard,
    TaskNames,
    built,
    card_values,
    load_network,
    matched,
    nested,
    read_card,
)
from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.data.input import Preprocessing
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions

_STRUCTURE: Final = ("norm", "attention", "upsampling", "channels", "image_skip")
_INPUT: Final = ("normalisation", "window", "neighbours")
"""Options that decide the shape and the meaning of a segmenter's tensors."""


@dataclass(frozen=True, kw_only=True)
class SegmenterCard(NetworkCard):
    """What a checkpoint says of its segmenter, in plain values, with nothing left to ``auto``.

    Checkpoints that do not say so used images as stored (``exif``), take no gray images in place of
    RGB, or the other way round (``gray_or_rgb``), and have images of any type (``dtypes``).
    """

    NAMES = TaskNames(
        task="segmentation",
        noun="segmenter",
        script="scripts/train_seg.py",
        runs="runs/segmentation",
    )
    CLASS_ROWS = {"segmentation_head.*": 1, "deep_heads.*": 1}  # noqa: RUF012 (a constant)

    channels: int  # of an image, before neighbouring slices are added
    options: UNetOptions
    classes: ClassTable
    input: InputOptions
    axis: int  # of a volume, along which its slices lie; see `CaseSet`
    exif: str = "ignore"  # as of `CaseSet`
    gray_or_rgb: bool = False  # whether flat images of either kind become like those of training
    dtypes: tuple[str, ...] = ()  # NumPy's names for the numbers of the training's images

    def __post_init__(self) -> None:
        """Refuse classes without names, and other values than one group per class."""
        names, values = self.classes.names, self.classes.values
        if not names or not all(name and isinstance(name, str) for name in names):
            raise UserError(f"classes.names is {names!r}, expected names")
        if len(values) != len(names):
            raise UserError(
                f"classes.values is {values!r}, expected the values of {len(names)} classes"
            )
        if not isinstance(self.dtypes, tuple) or not all(isinstance(k, str) for k in self.dtypes):
            raise UserError(f"dtypes is {self.dtypes!r}, expected names such as uint8")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return self.classes.names

    @property
    def image_channels(self) -> int | None:
        """What gray and RGB images are given; see `tasks.segmentation.data.channels.fitted`."""
        return self.channels if self.gray_or_rgb else None

    @property
    def images_text(self) -> str:
        """See `NetworkCard`."""
        slices = f", {2 * self.input.neighbours + 1} slices at once" * bool(self.input.neighbours)
        types = f" of type {', '.join(self.dtypes)}" * bool(self.dtypes)
        return f"Images of {self.channels} channel{'s' * (self.channels > 1)}{types}{slices}."

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to every slice."""
        known = self.conventions
        return Preprocessing(mean=known.mean, std=known.std, neighbours=self.input.neighbours)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values without ``in_channels``, which follow from ``channels``."""
        return {k: v for k, v in super().to_dict().items() if k != "in_channels"}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Return the card of which `to_dict` made these values."""
        classes = nested(card, "classes")
        classes["values"] = tuple(map(tuple, classes["values"]))
        inputs = InputOptions(**nested(card, "input"))
        parts = {
            "options": UNetOptions(**nested(card, "options")),
            "input": inputs,
            "classes": ClassTable(**classes),
        }
        channels = card["channels"]
        if not is_integer(channels) or channels < 1:
            raise UserError(f"channels is {channels!r}, expected an integer of at least 1")
        in_channels = input_channels(channels, inputs)
        return cls(**card_values(card, in_channels=in_channels) | parts)

    def architecture(self) -> dict[str, Any]:
        """Return what decides how the segmenter is built and what it sees, by option."""
        own = {f"model.{name}": getattr(self.options, name) for name in _STRUCTURE}
        seen = {f"input.{name}": getattr(self.input, name) for name in _INPUT}
        return super().architecture() | own | seen

    def classes_of(self, trained: Self) -> Classes:
        """Return the classes of a trained segmenter; None if only one's exclude each other."""
        alike = self.classes.exclusive == trained.classes.exclusive
        return matched(self.class_names, trained.class_names if alike else ())

    def build(self) -> ResNetUNet:
        """Return the segmenter with random weights."""
        return self.around(self.new_backbone())

    def around(self, backbone: Backbone) -> ResNetUNet:
        """Return the segmenter with a given backbone and a random decoder."""
        classes, options = len(self.class_names), self.options
        in_channels = self.in_channels
        return ResNetUNet(backbone, num_classes=classes, in_channels=in_channels, options=options)


def input_channels(channels: int, inputs: InputOptions) -> int:
    """Return the channels of the network's input: those of a slice and of its neighbours."""
    return channels * (2 * inputs.neighbours + 1)


def restore_segmenter(path: Path, *, exif: str | None = None) -> tuple[ResNetUNet, SegmenterCard]:
    """Return a checkpoint's segmenter, in eval mode, and card; without ``exif`` as in training."""
    checkpoint, card = read_card(path, SegmenterCard)
    if exif is not None:
        check_exif(exif)
        card = replace(card, exif=exif)
    segmenter: ResNetUNet = built(card, checkpoint)
    load_network(segmenter, checkpoint, card, path=path)
    return segmenter.eval(), card
