"""Rename the tensors of other projects to torchvision's and timm's names."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from backbones.weights.unwrap import below, prefixes

_Rules = Sequence[tuple[str, str]]

_CAFFE2: Final[_Rules] = (  # the first Detectron's names to detectron2's
    (r"^res_conv1_[bg]n_", "stem.conv1.norm."),
    (r"^conv1_", "stem.conv1."),
    (r"^(res\d)_(\d+)_branch1_[bg]n_", r"\1.\2.shortcut.norm."),
    (r"^(res\d)_(\d+)_branch1_", r"\1.\2.shortcut."),
    (r"^(res\d)_(\d+)_branch2a_", r"\1.\2.conv1."),
    (r"^(res\d)_(\d+)_branch2b_", r"\1.\2.conv2."),
    (r"^(res\d)_(\d+)_branch2c_", r"\1.\2.conv3."),
    (r"^(res\d\.\d+\.conv\d)\.[bg]n_", r"\1.norm."),
    (r"\.(w|s|gamma)$", ".weight"),
    (r"\.(b|beta)$", ".bias"),
    (r"\.(rm|running_mean)$", ".running_mean"),
    (r"\.(riv|running_var)$", ".running_var"),
)
_DETECTRON2: Final[_Rules] = (
    (r"^stem\.conv1\.norm\.", "bn1."),
    (r"^stem\.conv1\.", "conv1."),
    *((rf"^res{k + 1}\.", f"layer{k}.") for k in (1, 2, 3, 4)),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"\.conv(\d)\.norm\.", r".bn\1."),
)

_TRANSFORMERS: Final[_Rules] = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    *((rf"^encoder\.stages\.{k - 1}\.layers\.", f"layer{k}.") for k in (1, 2, 3, 4)),
    *((rf"\.layer\.{k - 1}\.convolution\.", f".conv{k}.") for k in (1, 2, 3)),
    *((rf"\.layer\.{k - 1}\.normalization\.", f".bn{k}.") for k in (1, 2, 3)),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
)

_MMLAB: Final[_Rules] = (
    (r"(^|\.)stem\.([01346])\.", r"\1conv1.\2."),
    (r"(^|\.)stem\.7\.", r"\1bn1."),
    (r"\.se_layer\.conv([12])\.conv\.", r".se.fc\1."),
)

_PREACTIVATION: Final[_Rules] = (
    (r"^stem\.conv\.", "conv1."),
    (r"^norm\.", "norms.c5."),
    *((rf"^stages\.{k - 1}\.blocks\.", f"layer{k}.") for k in (1, 2, 3, 4)),
    (r"\.downsample\.conv\.", ".downsample.0."),
)

_CHILDREN: Final = {"0": "conv1", "1": "bn1"} | {str(k + 3): f"layer{k}" for k in (1, 2, 3, 4)}
"""Indices of a torchvision ResNet's modules in ``nn.Sequential(*resnet.children())``."""


def from_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename detectron2's ``stem.conv1``, ``res2`` to ``res5``, ``shortcut`` and ``norm``.

    Tensors of other parts of a detector are left out.
    """
    own = below(state, prefixes(state, "stem.conv1.weight")[0])
    body = {k: v for k, v in own.items() if re.match(r"(stem\.conv1|res[2-5]\.\d+)\.", k)}
    return _renamed(body, _DETECTRON2)


def from_caffe2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the first Detectron's ``conv1_w``, ``res2_0_branch2a_bn_s`` and so on.

    Its convolutions use no biases; those in the files are left out.
    """
    unused = re.compile(r"_momentum$|^(conv1|res\d_\d+_branch(1|2[abc]))_b$")
    used = {k: v for k, v in state.items() if not unused.search(k)}
    return from_detectron2(_renamed(used, _CAFFE2))


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename HuggingFace's ``embedder``, ``encoder.stages``, ``layer.N.convolution``."""
    own = below(state, prefixes(state, "embedder.embedder.convolution.weight")[0])
    return _renamed(own, _TRANSFORMERS)


def from_mmlab(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename mmdetection's and mmpretrain's deep ``stem`` and ``se_layer`` to timm's names."""
    return _renamed(state, _MMLAB)


def from_children(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename ``nn.Sequential(*resnet.children())``, whose modules are numbered."""
    own = below(state, prefixes(state, "4.0.conv1.weight")[0])
    split = {key: key.partition(".") for key in own}
    return {
        f"{_CHILDREN[first]}.{rest}": own[key]
        for key, (first, _, rest) in split.items()
        if first in _CHILDREN
    }


def from_encoder(state: Mapping[str, Tensor], *, names: Sequence[str]) -> dict[str, Tensor]:
    """Keep one of two networks: the first of the prefixes ``names`` that the state dict has."""
    there = [name for name in names if any(key.startswith(name) for key in state)]
    own = below(state, there[0])
    return from_children(own) if is_sequence(own) else own


def from_preactivation(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's ``resnetv2``: its ``stages``, and its final ``norm``, here the norm of c5."""
    own = below(state, prefixes(state, "stem.conv.weight")[0], without=("head.",))
    return _renamed(own, _PREACTIVATION)


def preactivation_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the norms of c1 to c4: in timm's ``resnetv2``, the first of the next stage."""
    pairs = {f"norms.c{k}.": below(state, f"layer{k}.0.norm1.") for k in (1, 2, 3, 4)}
    return {f"{name}{key}": v for name, norm in pairs.items() for key, v in norm.items()}


def unit_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return statistics for norms that have them folded into scale and shift: 0 and 1.

    The variance is smaller by the epsilon of `Conventions`, which a batch norm adds.
    """
    learned = (k for k in state if re.search(r"(^|\.)(bn\d|downsample\.1)\.bias$", k))
    norms = [key.removesuffix("bias") for key in learned]
    scales = {norm: state[f"{norm}bias"] for norm in norms if f"{norm}running_var" not in state}
    means = {f"{norm}running_mean": torch.zeros_like(v) for norm, v in scales.items()}
    ones = {f"{norm}running_var": torch.full_like(v, 1 - 1e-5) for norm, v in scales.items()}
    return means | ones


def is_sequence(state: Mapping[str, Tensor]) -> bool:
    """Return whether the modules of a ResNet are numbered, as by `from_children`."""
    starts = prefixes(state, "4.0.conv1.weight")
    return len(starts) == 1 and f"{starts[0]}0.weight" in state


def _renamed(state: Mapping[str, Tensor], rules: _Rules) -> dict[str, Tensor]:
    named = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        named[name] = value
    return named
