"""The backbone of a trained network as a file: ``backbone.safetensors``."""

from pathlib import Path

from backbones import Backbone
from backbones.errors import UserError
from backbones.fusion import fused_error, is_fused
from backbones.lineage import Lineage, lineage_text, read_from
from backbones.weights.write import backbone_card, write_weights
from tasks.common.files.atomic import replacing
from tasks.common.resume.card import NetworkCard


def lineage_from(card: NetworkCard, checkpoint: Path | None) -> Lineage:
    """Return the lineage of a network that was read from a checkpoint, with its hash."""
    if checkpoint is None:
        return card.lineage
    return read_from(card.lineage, checkpoint, label=str(checkpoint))


def write_backbone(
    backbone: Backbone, card: NetworkCard, path: Path, *, checkpoint: Path | None
) -> Path:
    """Write the backbone of a trained network to a ``.safetensors`` file; return the path.

    Its metadata state how it is built, what it expects of an image and its lineage, to which the
    hash of ``checkpoint``, the file of the network, belongs. ``backbone.weights=<path>`` of either
    task and ``build_backbone(name, weights=path)`` take it. A fused backbone, a folder and another
    suffix are UserErrors.
    """
    if is_fused(backbone):
        raise fused_error(f"the backbone of {checkpoint or 'this network'}")
    if path.suffix != ".safetensors" or path.is_dir():
        what = "is a folder" if path.is_dir() else f"ends in {path.suffix!r}"
        raise UserError(f"{path} {what}; expected a file to write that ends in .safetensors.")
    lineage = lineage_from(card, checkpoint)
    stated = backbone_card(
        card.backbone,
        backbone.options,
        card.conventions,
        lineage=lineage,
        provenance=lineage_text(lineage),
        stride_in_1x1=backbone.stride_in_1x1,
    )
    with replacing(path) as partial:
        write_weights(partial, backbone.file_state(), {"keel": stated})
    return path
