"""The names that options take, without what they stand for: importing this imports no torch."""

from typing import Final

NORM_NAMES: Final = (
    "batch",
    "frozen_batch",
    "sync_batch",
    "group",
    "instance",
    "layer2d",
    "none",
)
"""The keys of `backbones.layers.norm.NORMS`."""

INIT_NAMES: Final = ("he", "zero_last", "scaled")
"""The keys of `backbones.resnet.init.INITS`."""

CONVENTION_NAMES: Final = (
    "imagenet",
    "imagenet_bgr",
    "inception",
    "caffe",
    "detectron",
    "radimagenet",
    "swav",
    "none",
    "none_255",
)
"""The keys of `backbones.weights.conventions.CONVENTIONS`."""

WEIGHT_TAGS: Final = {
    "imagenet": "IMAGENET1K_V1",
    "imagenet_v1": "IMAGENET1K_V1",
    "imagenet_v2": "IMAGENET1K_V2",
}
"""Our tags of weights, and torchvision's names for the same weights."""

WEIGHTS: Final = "model.safetensors"
"""The file of a folder in the hub's layout that holds a network or a backbone."""
