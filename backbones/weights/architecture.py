"""Which architecture the tensors of a file are: a registered backbone, or a family that is none."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from functools import partial
from typing import Final

import torch
from torch import Tensor

from backbones.interface import Backbone
from backbones.options import BackboneOptions
from backbones.weights.unwrap import backbone_state

Known = Mapping[str, Callable[[BackboneOptions], Backbone]]  # builders by registered name

_Shapes = dict[str, tuple[int, ...]]

STATISTICS: Final = ("*.running_mean", "*.running_var", "*.num_batches_tracked")
"""Patterns of the tensors that only batch norms have."""

_FAMILIES: Final = {
    "relative_position_bias_table": "a Swin Transformer",
    "patch_embed.proj.weight": "a Vision Transformer",
    "cls_token": "a Vision Transformer",
    "conv_dw.weight": "a ConvNeXt or MobileNet of timm's",
    "features.conv0.weight": "a DenseNet",
    "features.0.0.weight": "an EfficientNet, MobileNet or ConvNeXt of torchvision's",
    "features.0.weight": "a VGG or AlexNet",
    "attnpool.positional_embedding": "the ResNet of CLIP, which has another stem",
    "stages.0.blocks.0.norm1.weight": "a BiT ResNet of timm's, which standardises its weights",
    "model.0.conv.weight": "a YOLO",
}
"""Families of networks that are not built here, by the ending of a tensor's name."""


def stage_of(key: str) -> str:
    """Return the part of a key that names its stage.

    >>> stage_of("layer2.0.conv1.weight"), stage_of("norms.c3.bias")
    ('layer2', 'norms.c3')
    """
    first, _, rest = key.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "norms" else first


def fitting_backbones(
    state: Mapping[str, Tensor], known: Known, *, stride_in_1x1: bool | None = None
) -> list[str]:
    """Return the known backbones whose stages have the same tensors as the file's stages.

    Building takes time: most are ruled out by their first stage, and the search ends with the first
    one of which the file has every stage.
    """
    names = []
    for name, build in known.items():
        start = build_on_meta(partial(build, BackboneOptions(out_features=["c2"])))
        if start is not None and not _fitting_stages(state, start, whole=False):
            continue
        backbone = build_on_meta(partial(build, BackboneOptions()))
        if backbone is None:
            continue
        stages = _fitting_stages(state, backbone)
        strides = (None, stride_in_1x1)
        if stages and (stride_in_1x1 is None or backbone.stride_in_1x1 in strides):
            names.append(name)
            if stages == len(backbone.stages()):
                break
    return names


def describe(state: Mapping[str, Tensor], names: Sequence[str]) -> str:
    """Return a sentence on what a file seems to be: of a family, or of one of these backbones."""
    if family := family_of(state):
        return (
            f" This looks like {family}, which Keel does not have; backbone=timm/<name> has many."
        )
    return f" This looks like {' or '.join(names[:3])}." if names else ""


def family_of(state: Mapping[str, Tensor]) -> str:
    """Return the family of `_FAMILIES` that a file's names show, or an empty string."""
    endings = (e for e in _FAMILIES if any(k == e or k.endswith(f".{e}") for k in state))
    return next((_FAMILIES[ending] for ending in endings), "")


def build_on_meta(build: Callable[[], Backbone]) -> Backbone | None:
    """Return the backbone on the meta device, or None where its builder cannot do that."""
    with suppress(Exception), torch.device("meta"):  # a hint must not fail with an error of its own
        return build()
    return None


def _fitting_stages(state: Mapping[str, Tensor], backbone: Backbone, *, whole: bool = True) -> int:
    """Return how many stages a file that fits has; 0 if not. ``whole``: it has no others."""
    given, expected = _compared(state, backbone)
    stages = {stage_of(key) for key in given}
    fits = given == expected if whole else expected.items() <= given.items()
    return 1 + sum(stage.startswith("layer") for stage in stages) if given and fits else 0


def _compared(state: Mapping[str, Tensor], backbone: Backbone) -> tuple[_Shapes, _Shapes]:
    """Return the shapes of the file's tensors, and of the backbone's in the same stages.

    Both are empty if the file does not have the first convolution.
    """
    first_conv = backbone.first_conv.removeprefix(backbone.key_prefix)
    try:
        given = backbone_state(state, first_conv=first_conv)
    except ValueError:
        return {}, {}
    stages = {stage_of(key) for key in given}
    expected = {k: v for k, v in backbone.file_state().items() if stage_of(k) in stages}
    return _shapes(given, first_conv), _shapes(expected, first_conv)


def _shapes(state: Mapping[str, Tensor], first_conv: str) -> _Shapes:
    """Return the shapes of what is learned; the first convolution's without its channels."""
    learned = (k for k in state if not any(fnmatch(k, pattern) for pattern in STATISTICS))
    shapes = {key: tuple(state[key].shape) for key in learned}
    return shapes | {first_conv: shapes[first_conv][:1] + shapes[first_conv][2:]}
