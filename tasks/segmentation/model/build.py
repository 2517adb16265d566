"""From a configuration to a segmenter, with the choices left to us made and explained."""

from dataclasses import replace
from typing import Any, Final

from tasks.common.options.decision import Decision
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import SMALL_BATCH, build_chosen, choose_norm, norms_of
from tasks.common.resume.start import (
    Classes,
    Start,
    architecture,
    check_same,
    load_start,
    matched,
    without_weights,
)
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions

_BUILD: Final = ("norm", "attention", "upsampling", "channels", "image_skip")
_SEEN: Final = ("normalisation", "window", "neighbours")
"""Options that decide what a segmenter's tensors are, and what they mean."""

_HEADS: Final = {"segmentation_head.*": 1, "deep_heads.*": 1}
"""Tensors with rows per class, and how many a class has."""


def choose_norms(
    choice: BackboneChoice,
    options: UNetOptions,
    *,
    batch_size: int,
    start: Start[SegmenterCard] | None = None,
) -> tuple[Decision, Decision]:
    """Return the norm of the backbone, and that of the decoder.

    ``model.norm`` is for both, unless ``backbone.norm`` says otherwise or the backbone cannot be
    built with it. Left to us, the backbone's follows from its weights as in
    `tasks.common.recipe.backbone.choose_norm`; the decoder, which is never loaded, takes ``batch``
    from 8 images per device on, ``group`` below.

    Args:
        choice: The backbone's.
        options: The decoder's.
        batch_size: Images per step on one device.
        start: A trained segmenter to begin with, whose norms they are where nothing is told.
    """
    if start is not None:
        own = Decision(value=start.card.options.norm, reason="that of init_from")
        told = Decision(value=options.norm, reason="as told")
        return start.norm(choice), own if options.norm == "auto" else told
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
    start: Start[SegmenterCard] | None = None,
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
        start: A trained segmenter to begin with; it brings the weights.

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
    plain = choice if start is None else without_weights(choice)
    backbone = build_chosen(plain, in_channels=in_channels, norm=norm, freeze=freeze)
    if start is not None:
        backbone = start.adopted(backbone)
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
        gray_or_rgb=data.channels is not None,
    )
    if start is not None:
        check_same(start, _architecture(card), _architecture(start.card))
    network = ResNetUNet(
        backbone, num_classes=len(data.classes.names), in_channels=in_channels, options=options
    )
    if start is not None:
        load_start(network, start, heads=_HEADS, pairs=kept_classes(start, card).pairs)
    return network, card


def kept_classes(start: Start[SegmenterCard], card: SegmenterCard) -> Classes:
    """Return which classes of a segmenter the one that it begins with has learnt.

    None where the classes of only one exclude each other: their outputs mean other things.
    """
    alike = card.classes.exclusive == start.card.classes.exclusive
    return matched(card.classes.names, start.card.classes.names if alike else ())


def resumed_input(inputs: InputOptions, start: Start[SegmenterCard] | None) -> InputOptions:
    """Return the options of the input with what was left to us taken from a trained segmenter."""
    if start is None or inputs.normalisation != "auto":
        return inputs
    own = start.card.input
    return replace(inputs, normalisation=own.normalisation, window=own.window)


def _architecture(card: SegmenterCard) -> dict[str, Any]:
    """Return what decides how a segmenter is built and what it sees, by option."""
    own = {f"model.{name}": getattr(card.options, name) for name in _BUILD}
    seen = {f"input.{name}": getattr(card.input, name) for name in _SEEN}
    return architecture(card) | own | seen
