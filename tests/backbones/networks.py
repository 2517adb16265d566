"""Networks that are quick to build and to run."""

from dataclasses import replace

from backbones import BackboneOptions
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS


def without_classifier(state):
    """Return what a backbone has of the state dict of torchvision's or timm's whole network."""
    return {k: v for k, v in state.items() if not k.startswith("fc.")}


def short(name, **options):
    """The variant with two blocks in its first stage and one in the others, of 16 channels up."""
    spec = VARIANTS[name]
    depths = (2, *(1 for _ in spec.depths[1:]))
    spec = replace(spec, depths=depths, width=16, stem_width=16)
    return build_resnet(spec, BackboneOptions(**options))


def tiny(options):
    """Resnet18 with an eighth of its channels: as many tensors, and small checkpoints."""
    spec = replace(VARIANTS["resnet18"], width=8, stem_width=8)
    return build_resnet(spec, options)
