"""Convolutional backbones: names in, feature pyramids out.

Importing the package, and listing the backbones, does not import torch: what needs torch is
imported when it is first used.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from backbones.errors import UserError
from backbones.options import BackboneOptions, Conventions
from backbones.registry import build_backbone, list_backbones, register_backbone

if TYPE_CHECKING:
    from backbones.fpn import FPN, BackboneWithFPN
    from backbones.fusion import fuse
    from backbones.interface import Backbone
    from backbones.layers.norm import NORMS, norm_factory
    from backbones.pretrained import from_pretrained, save_pretrained
    from backbones.weights.load import LoadReport, load_weights
else:
    _NEEDS_TORCH = {
        "FPN": "backbones.fpn",
        "NORMS": "backbones.layers.norm",
        "Backbone": "backbones.interface",
        "BackboneWithFPN": "backbones.fpn",
        "from_pretrained": "backbones.pretrained",
        "save_pretrained": "backbones.pretrained",
        "LoadReport": "backbones.weights.load",
        "fuse": "backbones.fusion",
        "load_weights": "backbones.weights.load",
        "norm_factory": "backbones.layers.norm",
    }

    def __getattr__(name: str) -> object:
        if name not in _NEEDS_TORCH:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return resolve_name(f"{_NEEDS_TORCH[name]}:{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_NEEDS_TORCH})


__all__ = [
    "FPN",
    "NORMS",
    "Backbone",
    "BackboneOptions",
    "BackboneWithFPN",
    "Conventions",
    "LoadReport",
    "UserError",
    "build_backbone",
    "from_pretrained",
    "fuse",
    "list_backbones",
    "load_weights",
    "norm_factory",
    "register_backbone",
    "save_pretrained",
]
