"""The first stages of a ResNet-18, quick to build and to load, and how they are compared."""

import torch

from backbones import build_backbone
from tests.backbones.networks import close, features_of
from tests.backbones.weights.spelling import by


def build(name="resnet18", **options):
    """The stem and the first stage: what most of these tests need."""
    return build_backbone(name, **{"out_features": ["c1", "c2"]} | options)


def holds(backbone, state):
    """Every tensor of the backbone is the one of that name, bit for bit."""
    own = backbone.state_dict()
    torch.testing.assert_close(own, {key: state[key] for key in own}, rtol=0, atol=0)


def same_features(path, model, prepare, *, origin, name="resnet18", **options):
    """Load a file by its path alone, and compare with the network that it was made of.

    The network sees the image as its project prepares it, ours by the conventions that came with
    the file: a wrong mean, range or order of the colours would show.
    """
    usual = {"out_features": ["c1", "c2", "c3"]}
    ours = build_backbone(name, weights=path, **usual | options).eval()
    assert f"\n  origin: {origin}" in ours.provenance
    image = torch.rand(1, 3, 64, 64)
    found = ours(by(ours.conventions.mean, ours.conventions.std)(image))
    close(found, features_of(model, prepare(image)))
    return ours
