"""Convolutional backbones: names in, feature pyramids out."""

from backbones.errors import UserError
from backbones.fpn import FPN, BackboneWithFPN
from backbones.interface import Backbone, BackboneOptions, Conventions
from backbones.layers.norm import NORMS, norm_factory
from backbones.registry import build_backbone, list_backbones, register_backbone
from backbones.weights.load import LoadReport, load_weights

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
    "list_backbones",
    "load_weights",
    "norm_factory",
    "register_backbone",
]
