"""From a configuration to a detector."""

from dataclasses import replace

from torchvision.models.detection import FasterRCNN

from tasks.common.backbone import BackboneChoice, build_chosen, outline
from tasks.detection.annotations import Annotations
from tasks.detection.checkpoint import DetectorCard
from tasks.detection.model import FEATURES, DetectorOptions, build_detector


def new_detector(
    choice: BackboneChoice, options: DetectorOptions, *, data: Annotations, norm: str, freeze: int
) -> tuple[FasterRCNN, DetectorCard]:
    """Build a detector for the classes of ``data``, with loaded weights and frozen stages.

    Raises:
        ValueError: If a name or a value is wrong, or the weights do not fit.
        FileNotFoundError: If a weight file does not exist.
        ConnectionError: If weights have to be downloaded and cannot be.
    """
    in_channels = 3 if choice.in_channels is None else choice.in_channels
    if in_channels not in (1, 3):
        raise ValueError(
            f"backbone.in_channels takes 3 (RGB) or 1 (gray) in detection, got {in_channels!r}."
        )
    options = fitted(options, choice)
    backbone = build_chosen(
        choice, in_channels=in_channels, norm=norm, freeze=freeze, out_features=options.features
    )
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
    )
    network = build_detector(backbone, num_classes=len(data.classes), options=options)
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
