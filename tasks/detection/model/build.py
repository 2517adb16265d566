"""From a configuration to a detector."""

from dataclasses import replace
from typing import Any, Final

from torchvision.models.detection import FasterRCNN

from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import build_chosen, outline
from tasks.common.resume.start import (
    Classes,
    Start,
    architecture,
    check_same,
    load_start,
    matched,
    without_weights,
)
from tasks.detection.data.annotations import Annotations
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.faster_rcnn import FEATURES, build_detector
from tasks.detection.options import DetectorOptions

_BUILD: Final = ("head", "head_width", "features", "fpn_channels", "fpn_norm", "anchor_sizes")
"""Options that decide what a detector's tensors are, and what they mean."""

_HEADS: Final = {
    "roi_heads.box_predictor.cls_score.*": 1,
    "roi_heads.box_predictor.bbox_pred.*": 4,
}
"""Tensors with rows per class, and how many a class has."""


def new_detector(
    choice: BackboneChoice,
    options: DetectorOptions,
    *,
    data: Annotations,
    norm: str,
    freeze: int,
    start: Start[DetectorCard] | None = None,
) -> tuple[FasterRCNN, DetectorCard]:
    """Build a detector for the classes of ``data``, with loaded weights and frozen stages.

    Args:
        choice: Name and weights of the backbone.
        options: The rest of the architecture.
        data: The training data.
        norm: The backbone's.
        freeze: How many stages are frozen.
        start: A trained detector to begin with; it brings the weights.

    Raises:
        ValueError: If a name or a value is wrong, or the weights do not fit.
        FileNotFoundError: If a weight file does not exist.
        ConnectionError: If weights have to be downloaded and cannot be.
    """
    usual = 3 if start is None else start.card.in_channels
    in_channels = usual if choice.in_channels is None else choice.in_channels
    if in_channels not in (1, 3):
        raise ValueError(
            f"backbone.in_channels takes 3 (RGB) or 1 (gray) in detection, got {in_channels!r}."
        )
    options = fitted(options, choice)
    plain = choice if start is None else without_weights(choice)
    backbone = build_chosen(
        plain, in_channels=in_channels, norm=norm, freeze=freeze, out_features=options.features
    )
    if start is not None:
        backbone = start.adopted(backbone)
    card = DetectorCard(
        backbone=choice.name,
        norm=norm,
        in_channels=in_channels,
        options=options,
        classes=tuple(data.classes),
        category_ids=tuple(data.category_ids),
        mean=backbone.conventions.mean,
        std=backbone.conventions.std,
        epsilon=backbone.conventions.epsilon,
        provenance=backbone.provenance,
        output_stride=choice.output_stride,
        deformable=choice.deformable,
        deformable_version=choice.deformable_version,
        one_based=data.one_based,
        reading=data.reading,
    )
    if start is not None:
        check_same(start, _architecture(card), _architecture(start.card))
    network = build_detector(backbone, num_classes=len(data.classes), options=options)
    if start is not None:
        pairs = [(0, 0), *((i + 1, j + 1) for i, j in kept_classes(start, card).pairs)]
        load_start(network, start, heads=_HEADS, pairs=pairs)  # label 0 is the background
    return network, card


def fitted(options: DetectorOptions, choice: BackboneChoice) -> DetectorOptions:
    """Return the options with those of ``features`` that the backbone has, and their anchors.

    A plain vision transformer has a feature of stride 16 alone. The pooled level takes the anchors
    of the level that would come next.

    Args:
        options: As told, or as the model's configuration has them.
        choice: Which backbone.
    """
    backbone = outline(choice.name)
    if backbone is None or len(options.anchor_sizes) != len(options.features) + 1:
        return options
    kept = [k for k, name in enumerate(options.features) if name in backbone.channels]
    if not kept or len(kept) == len(options.features) or set(options.features) - set(FEATURES):
        return options
    sizes = tuple(options.anchor_sizes[k] for k in (*kept, kept[-1] + 1))
    features = tuple(options.features[k] for k in kept)
    return replace(options, features=features, anchor_sizes=sizes)


def kept_classes(start: Start[DetectorCard], card: DetectorCard) -> Classes:
    """Return which classes of a detector the one that it begins with has learnt."""
    return matched(card.classes, start.card.classes)


def _architecture(card: DetectorCard) -> dict[str, Any]:
    """Return what decides how a detector is built, by option."""
    own = {f"model.{name}": getattr(card.options, name) for name in _BUILD}
    return architecture(card) | own
