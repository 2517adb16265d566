"""From a configuration to a segmenter, with the choices left to us made and explained."""

from dataclasses import replace

from backbones.errors import UserError
from tasks.common.options.decision import Decision
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import SMALL_BATCH, choose_norm, norms_of
from tasks.common.resume.card import structure_of
from tasks.common.resume.start import Start, begin_backbone
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.model.card import SegmenterCard, input_channels
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions


def choose_norms(
    choice: BackboneChoice,
    options: UNetOptions,
    *,
    batch_size: int,
    start: Start[SegmenterCard] | None = None,
) -> tuple[Decision, Decision]:
    """Return the norm of the backbone, and that of the decoder.

    ``model.norm`` is for both, unless ``backbone.norm`` says otherwise or the backbone cannot be
    built with it. ``auto`` is `tasks.common.recipe.build.choose_norm` for the backbone, and for the
    decoder, which is never loaded, ``batch`` from 8 images per device on, ``group`` below.
    """
    left_open = options.norm == "auto"
    decoder = Decision(value=options.norm, reason="as configured")
    if start is not None:
        own = Decision(value=start.card.options.norm, reason="that of init_from")
        return start.norm(choice), own if left_open else decoder
    if left_open:
        norm = "group" if batch_size < SMALL_BATCH else "batch"
        decoder = Decision(value=norm, reason=f"{batch_size} images per batch")
    able = norms_of(choice)
    if choice.norm == "auto" and not left_open and (able is None or options.norm in able):
        return Decision(value=options.norm, reason="that of the decoder"), decoder
    return choose_norm(choice, batch_size=batch_size), decoder


def new_segmenter(
    choice: BackboneChoice,
    options: UNetOptions,
    inputs: InputOptions,
    *,
    data: CaseSet,
    channels: int,
    norm: str,
    freeze: int,
    start: Start[SegmenterCard] | None = None,
) -> tuple[ResNetUNet, SegmenterCard]:
    """Build a segmenter for the classes of ``data``, with loaded weights and frozen stages."""
    in_channels = input_channels(channels, inputs)
    if choice.in_channels not in (None, in_channels):
        raise UserError(
            f"backbone.in_channels is {choice.in_channels}, but images of {channels} channels with "
            f"input.neighbours={inputs.neighbours} make {in_channels}; leave it out."
        )
    backbone = begin_backbone(choice, start, in_channels=in_channels, norm=norm, freeze=freeze)
    seen = backbone.conventions
    if inputs.normalisation == "zscore":  # has mean 0 and std 1 already
        seen = replace(seen, mean=(0.0,) * in_channels, std=(1.0,) * in_channels)
    card = SegmenterCard(
        backbone=choice.name,
        backbone_options=structure_of(choice, in_channels=in_channels, norm=norm),
        conventions=seen,
        provenance=backbone.provenance,
        lineage=backbone.lineage,
        channels=channels,
        options=options,
        classes=data.classes,
        input=inputs,
        axis=data.axis,
        exif=data.exif,
        gray_or_rgb=data.channels is not None,
    )
    network = card.around(backbone)
    if start is not None:
        start.load(network, card)
    return network, card


def resumed_input(inputs: InputOptions, start: Start[SegmenterCard] | None) -> InputOptions:
    """Return the options of the input with what was left to us taken from a trained segmenter."""
    if start is None or inputs.normalisation != "auto":
        return inputs
    own = start.card.input
    return replace(inputs, normalisation=own.normalisation, window=own.window)
