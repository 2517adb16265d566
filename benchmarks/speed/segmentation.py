"""smp's U-Net, as documented and with Keel's precision, beside Keel's."""

from functools import partial
from typing import Final

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from backbones import build_backbone
from benchmarks.speed.clock import Comparison, Make
from benchmarks.speed.freezing import freezing
from benchmarks.speed.steps import Inference, TrainingStep, device
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.optim import build_optimizer
from tasks.common.recipe.recipe import Recipe
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import UNetOptions

CLASSES: Final = 3
SYSTEMS: Final = ("smp.Unet, as documented", "smp.Unet, bf16 and channels_last", "Keel")


def _network(system: str, name: str, *, freeze: int) -> nn.Module:
    torch.manual_seed(0)
    if system == SYSTEMS[2]:
        backbone = build_backbone(name, weights="random", freeze=freeze)
        network = ResNetUNet(
            backbone, num_classes=CLASSES, in_channels=3, options=UNetOptions(norm="batch")
        )
        return network.to(device()).to(memory_format=torch.channels_last)
    theirs: nn.Module = smp.Unet(name, encoder_weights=None, classes=CLASSES).to(device())
    return theirs.to(memory_format=torch.channels_last) if system == SYSTEMS[1] else theirs


def _images(system: str, batch: int, side: int) -> Tensor:
    torch.manual_seed(1)
    images = torch.rand(batch, 3, side, side).to(device())
    return images if system == SYSTEMS[0] else images.contiguous(memory_format=torch.channels_last)


def make_training(
    system: str, name: str, *, batch: int, side: int, freeze: int = 0
) -> TrainingStep:
    """Return a training step with AdamW on smp's Dice loss plus cross entropy."""
    network = _network(system, name, freeze=freeze)
    images = _images(system, batch, side)
    labels = torch.randint(0, CLASSES, (batch, side, side)).to(device())
    dice = smp.losses.DiceLoss("multiclass")

    def loss(network: nn.Module) -> Tensor:
        logits = network(images).float()
        total: Tensor = nn.functional.cross_entropy(logits, labels) + dice(logits, labels)
        return total

    recipe = Recipe(optimizer="adamw", lr=1e-6)
    if isinstance(network, ResNetUNet):
        groups = parameter_groups(network, network.backbone, recipe=recipe, lr=recipe.lr)
        optimizer = build_optimizer(groups, recipe, precision="bf16-mixed")
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr)
    return TrainingStep(network, loss=loss, optimizer=optimizer, low=system != SYSTEMS[0])


def make_inference(system: str, name: str, *, batch: int, side: int) -> Inference:
    """Return the forward pass of random images."""
    network = _network(system, name, freeze=0)
    return Inference(network, _images(system, batch, side), low=system != SYSTEMS[0])


def training(name: str, *, batch: int, side: int) -> Comparison:
    """Compare training steps."""
    systems: dict[str, Make] = {
        system: partial(make_training, system, name, batch=batch, side=side) for system in SYSTEMS
    }
    return Comparison(
        title=f"U-Net {name}, training step, {batch} x {side}x{side}",
        systems=systems,
        base=dict.fromkeys(systems, SYSTEMS[0]),
    )


def freezing_steps(name: str, *, batch: int, side: int) -> Comparison:
    """Compare Keel's training step with frozen stages to that with none."""
    what = f"U-Net {name}, training step, {batch} x {side}x{side}"
    return freezing(what, partial(make_training, SYSTEMS[2], name, batch=batch, side=side))


def inference(name: str, *, batch: int, side: int) -> Comparison:
    """Compare the forward pass."""
    return Comparison(
        title=f"U-Net {name}, inference, {batch} x {side}x{side}",
        systems={s: partial(make_inference, s, name, batch=batch, side=side) for s in SYSTEMS},
        base=dict.fromkeys(SYSTEMS, SYSTEMS[0]),
    )
