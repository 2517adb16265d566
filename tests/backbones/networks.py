"""Networks that are quick to build and to run, or look trained."""

from dataclasses import replace

import torch
from torch import nn

from backbones import BackboneOptions
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS


def without_classifier(state):
    """Return what a backbone has of the state dict of torchvision's or timm's whole network."""
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


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


def trained_looking(network):
    """Return the network in eval mode, with statistics and scales as if it was trained."""
    generator = torch.Generator().manual_seed(5)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.bias, norm.running_mean):
            tensor.data.uniform_(-0.3, 0.3, generator=generator)
        norm.weight.data.uniform_(0.5, 1.0, generator=generator)
        norm.running_var.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()
