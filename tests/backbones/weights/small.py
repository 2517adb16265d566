"""The first stages of a ResNet-18, quick to build and to load, and how they are compared."""

import torch

from backbones import build_backbone


def build(name="resnet18", **options):
    """The stem and the first stage: what most of these tests need."""
    return build_backbone(name, **{"out_features": ["c1", "c2"]} | options)


def same(found, expected):
    """Equal, but for the rounding that another order of summation makes."""
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-4, atol=1e-4)


def holds(backbone, state):
    """Every tensor of the backbone is the one of that name, bit for bit."""
    own = backbone.state_dict()
    torch.testing.assert_close(own, {key: state[key] for key in own}, rtol=0, atol=0)
