"""Networks that are quick to build and to run, or look trained; and how they are compared."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from backbones import BackboneOptions
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS


def starting(state, *names):
    """Return the tensors whose names start with one of these."""
    return {key: value for key, value in state.items() if key.startswith(names)}


def without(state, *names):
    """Return the others. ``fc.`` is torchvision's and timm's classifier."""
    return {key: value for key, value in state.items() if not key.startswith(names)}


def small_of(model):
    """Return the state dict of torchvision's network without c4 and c5."""
    return without(model.state_dict(), "layer3.", "layer4.")


def on_meta(build, *args, **options):
    """Build without memory: names and shapes alone."""
    with torch.device("meta"):
        return build(*args, **options)


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


def batch_norms(network):
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]


def trained_looking(network):
    """Return the network in eval mode, with statistics and scales as if it was trained."""
    generator = torch.Generator().manual_seed(5)
    for norm in batch_norms(network):
        for tensor in (norm.bias, norm.running_mean):
            tensor.data.uniform_(-0.3, 0.3, generator=generator)
        norm.weight.data.uniform_(0.5, 1.0, generator=generator)
        norm.running_var.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@torch.no_grad()
def features_of(model, image):
    """Return c1 to c5 of a whole network of torchvision's or timm's, normalised and rectified."""
    if hasattr(model, "stages"):  # timm's pre-activation: the norms are at the start of a block
        layers = [*(stage.blocks[0].norm1 for stage in model.stages), model.norm]
    else:
        first = model.act1 if hasattr(model, "act1") else model.relu
        layers = [first, model.layer1, model.layer2, model.layer3, model.layer4]
    features = {}

    def keep(_module, _inputs, output, *, name):
        features[name] = output.clone()  # as it is now: the next layer may write to it

    with ExitStack() as hooks:
        for k, layer in enumerate(layers, start=1):
            hooks.enter_context(layer.register_forward_hook(partial(keep, name=f"c{k}")))
        model(image)
    return features


def close(found, expected):
    """Expect the same features, each to 1e-4 of its largest value: rounding adds up over layers."""
    assert found
    sizes = {name: expected[name].abs().max() for name in found}
    scaled = [{name: of[name] / size for name, size in sizes.items()} for of in (found, expected)]
    torch.testing.assert_close(*scaled, rtol=0, atol=1e-4)
