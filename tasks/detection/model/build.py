"""From a configuration to a detector."""

from dataclasses import replace

from backbones.errors import UserError
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import outline
from tasks.common.resume.card import structure_of
from tasks.common.resume.start import Start, begin_backbone
from tasks.detection.data.annotations import Annotations
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.detector import Detector
from tasks.detection.model.faster_rcnn import FEATURES, build_detector
from tasks.detection.options import DetectorOptions


def new_detector(
    choice: BackboneChoice,
    options: DetectorOptions,
    *,
    data: Annotations,
    norm: str,
    freeze: int,
    start: Start[DetectorCard] | None = None,
) -> tuple[Detector, DetectorCard]:
    """Build a detector for the classes of ``data``, with loaded weights and frozen stages."""
    in_channels = _channels(choice, start)
    options = fitted(options, choice)
    backbone = begin_backbone(
        choice,
        start,
        in_channels=in_channels,
        norm=norm,
        freeze=freeze,
        out_features=options.features,
    )
    card = DetectorCard(
        backbone=choice.name,
        backbone_options=structure_of(choice, in_channels=in_channels, norm=norm),
        conventions=backbone.conventions,
        provenance=backbone.provenance,
        lineage=backbone.lineage,
        options=options,
        classes=tuple(data.classes),
        category_ids=tuple(data.category_ids),
        one_based=data.one_based,
        reading=data.reading,
    )
    network = build_detector(backbone, num_classes=len(card.classes), options=options)
    if start is not None:
        start.load(network, card)
    return network, card


def _channels(choice: BackboneChoice, start: Start[DetectorCard] | None) -> int:
    """Return the channels of the images: those of a trained detector, or RGB, unless given."""
    usual = 3 if start is None else start.card.in_channels
    in_channels = usual if choice.in_channels is None else choice.in_channels
    if in_channels not in (1, 3):
        raise UserError(
            f"backbone.in_channels takes 3 (RGB) or 1 (gray) in detection, got {in_channels!r}."
        )
    return in_channels


def fitted(options: DetectorOptions, choice: BackboneChoice) -> DetectorOptions:
    """Return the options with those of ``features`` that the backbone has, and their anchors.

    A plain vision transformer has a feature of stride 16 alone. The pooled level takes the anchors
    of the level that would come next.
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
