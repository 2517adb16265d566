"""From a configuration to a detector."""

from torchvision.models.detection import FasterRCNN

from tasks.common.backbone import BackboneChoice, build_chosen
from tasks.detection.annotations import Annotations
from tasks.detection.checkpoint import DetectorCard
from tasks.detection.model import DetectorOptions, build_detector


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
