"""What a weight file looks like that does not fit: the registered backbone, or another family."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from typing import Final

import torch
from torch import Tensor

from backbones.interface import Backbone
from backbones.weights.unwrap import backbone_state

Known = Mapping[str, Callable[[], Backbone]]
"""Builders of backbones by registered name."""

STATISTICS: Final = ("*.running_mean", "*.running_var", "*.num_batches_tracked")
"""What a batch norm has and other norms have not."""

_FAMILIES: Final = {
    "relative_position_bias_table": "a Swin Transformer",
    "patch_embed.proj.weight": "a Vision Transformer",
    "cls_token": "a Vision Transformer",
    "conv_dw.weight": "a ConvNeXt or MobileNet of timm's",
    "features.conv0.weight": "a DenseNet",
    "features.0.0.weight": "an EfficientNet, MobileNet or ConvNeXt of torchvision's",
    "features.0.weight": "a VGG or AlexNet",
    "attnpool.positional_embedding": "the ResNet of CLIP, whose stem is another one",
    "stages.0.blocks.0.norm1.weight": "a BiT ResNet of timm's, which standardises its weights",
    "model.0.conv.weight": "a YOLO",
}
"""Endings of names that tell a family of networks which is not built here."""


def stage_of(key: str) -> str:
    """Return the part of a key that names its stage.

    Example:
        >>> stage_of("layer2.0.conv1.weight"), stage_of("norms.c3.bias")
        ('layer2', 'norms.c3')
    """
    first, _, rest = key.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "norms" else first


def lookalikes(
    state: Mapping[str, Tensor], known: Known, *, stride_in_1x1: bool | None = None
) -> list[str]:
    """Return the names whose stages have all the shapes, and only those, of the file's stages.

    The search ends with the first of which the file has every stage: to build them all takes
    seconds.

    Args:
        state: The file's tensors under our names, whatever stands before them.
        known: Built on the meta device, without memory.
        stride_in_1x1: Where the file's bottlenecks stride, if that is known.
    """
    names = []
    for name, build in known.items():
        backbone = skeleton(build)
        if backbone is None:
            continue
        stages = _fitting_stages(state, backbone)
        strides = (None, stride_in_1x1)
        if stages and (stride_in_1x1 is None or backbone.stride_in_1x1 in strides):
            names.append(name)
            if stages == len(backbone.stages()):
                break
    return names


def describe(
    state: Mapping[str, Tensor], known: Known, *, stride_in_1x1: bool | None = None
) -> str:
    """Return a sentence about what a file looks like, or nothing where that is not known.

    Args:
        state: As in `lookalikes`.
        known: As in `lookalikes`.
        stride_in_1x1: As in `lookalikes`.
    """
    family = family_of(state)
    return said(family, [] if family else lookalikes(state, known, stride_in_1x1=stride_in_1x1))


def said(family: str, names: Sequence[str]) -> str:
    """Return the sentence of `describe`, of what is known."""
    if family:
        return (
            f" This looks like {family}, which is none of our own; backbone=timm/<name> has many."
        )
    return f" This looks like {' or '.join(names[:3])}." if names else ""


def family_of(state: Mapping[str, Tensor]) -> str:
    """Return the family of networks, none of ours, that a file's names are of, if there is one."""
    return next(_families(state), "")


def _families(state: Mapping[str, Tensor]) -> Iterator[str]:
    for ending, family in _FAMILIES.items():
        if any(key == ending or key.endswith(f".{ending}") for key in state):
            yield family


def skeleton(build: Callable[[], Backbone]) -> Backbone | None:
    """Return the backbone on the meta device, or None where its builder cannot do that.

    Args:
        build: Builds it.
    """
    with suppress(Exception), torch.device("meta"):  # this is help with an error, not another one
        return build()
    return None


def _fitting_stages(state: Mapping[str, Tensor], backbone: Backbone) -> int:
    """Return how many stages, stem first, the file has of the backbone; 0 if they do not fit."""
    try:
        first_conv = backbone.first_conv.removeprefix(backbone.key_prefix)
        given = backbone_state(state, first_conv=first_conv)
    except ValueError:
        return 0
    stages = {stage_of(key) for key in given}
    want = _shapes(backbone.file_state(), first_conv)
    there = {key: shape for key, shape in want.items() if stage_of(key) in stages}
    fits = _shapes(given, first_conv) == there
    return 1 + sum(stage.startswith("layer") for stage in stages) if fits else 0


def _shapes(state: Mapping[str, Tensor], first_conv: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is learned; the first convolution's without its channels."""
    learned = (k for k in state if not any(fnmatch(k, pattern) for pattern in STATISTICS))
    shapes = {key: tuple(state[key].shape) for key in learned}
    return shapes | {first_conv: shapes[first_conv][:1] + shapes[first_conv][2:]}
