"""From a configuration to a segmenter, with the choices left to us made and explained."""

from dataclasses import replace

from tasks.common.backbone import SMALL_BATCH, BackboneChoice, build_chosen, choose_norm, norms_of
from tasks.common.machine import Decision
from tasks.segmentation.cases import CaseSet
from tasks.segmentation.checkpoint import SegmenterCard
from tasks.segmentation.input import InputOptions
from tasks.segmentation.unet import ResNetUNet, UNetOptions


def choose_norms(
    choice: BackboneChoice, options: UNetOptions, *, batch_size: int
) -> tuple[Decision, Decision]:
    """Return the norm of the backbone, and that of the decoder.

    ``model.norm`` is for both, unless ``backbone.norm`` says otherwise or the backbone cannot be
    built with it. Left to us, the backbone's
    follows from its weights as in `tasks.common.backbone.choose_norm`; the decoder, which is never
    loaded, takes ``batch`` from 8 images per device on, ``group`` below.

    Args:
        choice: The backbone's.
        options: The decoder's.
        batch_size: Images per step on one device.
    """
    if options.norm != "auto":
        decoder = Decision(value=options.norm, reason="as told")
    elif batch_size < SMALL_BATCH:
        decoder = Decision(value="group", reason=f"{batch_size} images per batch")
    else:
        decoder = Decision(value="batch", reason=f"{batch_size} images per batch")
    able = norms_of(choice)
    if choice.norm == "auto" and options.norm != "auto" and (able is None or options.norm in able):
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
) -> tuple[ResNetUNet, SegmenterCard]:
    """Build a segmenter for the classes of ``data``, with loaded weights and frozen stages.

    Args:
        choice: Name and weights of the backbone.
        options: The decoder's, with a norm that is not ``auto``.
        inputs: With nothing left to ``auto``.
        data: The training cases.
        channels: Of an image.
        norm: The backbone's.
        freeze: How many stages are frozen.

    Raises:
        ValueError: If a name or a value is wrong, or the weights do not fit.
        FileNotFoundError: If a weight file does not exist.
        ConnectionError: If weights have to be downloaded and cannot be.
    """
    in_channels = channels * (2 * inputs.neighbours + 1)
    if choice.in_channels not in (None, in_channels):
        raise ValueError(
            f"backbone.in_channels is {choice.in_channels}, but images of {channels} channels with "
            f"input.neighbours={inputs.neighbours} make {in_channels}; leave it out."
        )
    backbone = build_chosen(choice, in_channels=in_channels, norm=norm, freeze=freeze)
    shown = backbone.conventions
    if inputs.normalisation == "zscore":  # has mean 0 and std 1 already
        shown = replace(shown, mean=(0.0,) * in_channels, std=(1.0,) * in_channels)
    card = SegmenterCard(
        backbone=choice.name,
        norm=norm,
        channels=channels,
        options=options,
        classes=data.classes,
        input=inputs,
        axis=data.axis,
        mean=shown.mean,
        std=shown.std,
        epsilon=shown.epsilon,
        provenance=backbone.provenance,
        output_stride=choice.output_stride,
        deformable=choice.deformable,
        deformable_version=choice.deformable_version,
        exif=data.exif,
    )
    network = ResNetUNet(
        backbone, num_classes=len(data.classes.names), in_channels=in_channels, options=options
    )
    return network, card
