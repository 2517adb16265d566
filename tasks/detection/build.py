"""From a configuration to a detector, with the choices left to us made and explained."""

from dataclasses import dataclass

from torchvision.models.detection import FasterRCNN

from backbones import build_backbone
from tasks.common.machine import Decision
from tasks.detection.annotations import Annotations
from tasks.detection.checkpoint import DetectorCard
from tasks.detection.model import DetectorOptions, build_detector

_SMALL_BATCH = 8
"""Below it batch statistics are too noisy to train with (Wu and He, arXiv:1803.08494, figure 1)."""


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """The ``backbone`` group of the configuration.

    Attributes:
        name: A registered name.
        weights: A tag, a file, or ``random``; see `backbones.build_backbone`.
        norm: A norm's name, or ``auto``: see `choose_norm`.
        freeze: How many stages to freeze, or ``auto``: 2 (stem and c2) of loaded weights, as in
            detectron2 and torchvision, and none of random ones.
        in_channels: 3 for RGB, 1 for gray.
    """

    name: str
    weights: str | None = "imagenet"
    norm: str = "auto"
    freeze: int | str = "auto"
    in_channels: int = 3

    @property
    def loaded(self) -> bool:
        """Whether weights are loaded."""
        return self.weights not in (None, "random")


def choose_norm(choice: BackboneChoice, *, batch_size: int) -> Decision:
    """Return the backbone's norm.

    Loaded batch norms keep their statistics (``frozen_batch``), which small batches would spoil. A
    random backbone takes ``batch`` from 8 images per device on, ``group`` below.
    """
    if choice.norm != "auto":
        return Decision(value=choice.norm, reason="as told")
    if choice.loaded:
        return Decision(value="frozen_batch", reason="loaded statistics are kept")
    if batch_size < _SMALL_BATCH:
        return Decision(value="group", reason=f"no weights, {batch_size} images per batch")
    return Decision(value="batch", reason="no weights to keep statistics of")


def choose_freeze(choice: BackboneChoice) -> Decision:
    """Return how many stages are frozen.

    Raises:
        ValueError: If ``freeze`` is neither ``auto`` nor a number.
    """
    if choice.freeze == "auto":
        reason = "of loaded weights" if choice.loaded else "no weights were loaded"
        return Decision(value="2" if choice.loaded else "0", reason=reason)
    if isinstance(choice.freeze, int):
        return Decision(value=str(choice.freeze), reason="as told")
    raise ValueError(f"backbone.freeze takes auto or 0 to 5, got {choice.freeze!r}.")


def new_detector(
    choice: BackboneChoice, options: DetectorOptions, *, data: Annotations, norm: str, freeze: int
) -> tuple[FasterRCNN, DetectorCard]:
    """Build a detector for the classes of ``data``, with loaded weights and frozen stages.

    Raises:
        ValueError: If a name or a value is wrong, or the weights do not fit.
        FileNotFoundError: If a weight file does not exist.
        ConnectionError: If weights have to be downloaded and cannot be.
    """
    if choice.in_channels not in (1, 3):
        raise ValueError(
            f"backbone.in_channels takes 3 (RGB) or 1 (gray) in detection, got "
            f"{choice.in_channels!r}."
        )
    backbone = build_backbone(
        choice.name,
        weights=choice.weights or "random",
        in_channels=choice.in_channels,
        norm=norm,
        out_features=options.features,
        freeze=freeze,
    )
    card = DetectorCard(
        backbone=choice.name,
        norm=norm,
        in_channels=choice.in_channels,
        options=options,
        classes=tuple(data.classes),
        category_ids=tuple(data.category_ids),
        mean=backbone.conventions.mean,
        std=backbone.conventions.std,
        epsilon=backbone.conventions.epsilon,
        provenance=backbone.provenance,
    )
    network = build_detector(backbone, num_classes=len(data.classes), options=options)
    return network, card
