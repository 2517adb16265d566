"""smp's U-Net, as documented and with Keel's precision, beside Keel's, on a ResNet-34."""

from functools import partial
from typing import Final

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from backbones import build_backbone
from benchmarks.harness import Comparison, device
from benchmarks.speed.steps import Inference, TrainingStep, by_freeze, keel_optimizer
from tasks.common.machine.precision import precision
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import UNetOptions

NAME: Final = "resnet34"
CLASSES: Final = 3
SYSTEMS: Final = ("smp.Unet, as documented", "smp.Unet, with Keel's precision and layout", "Keel")


def keel_unet(*, freeze: int = 0) -> ResNetUNet:
    """Return Keel's U-Net with random weights."""
    backbone = build_backbone(NAME, weights="random", freeze=freeze)
    options = UNetOptions(norm="batch")
    return ResNetUNet(backbone, num_classes=CLASSES, in_channels=3, options=options)


def _network(system: str, *, freeze: int) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module
    if system == "Keel":
        network = keel_unet(freeze=freeze)
    else:
        network = smp.Unet(NAME, encoder_weights=None, classes=CLASSES)
    network = network.to(device())
    return network if system == SYSTEMS[0] else network.to(memory_format=torch.channels_last)


def _images(system: str, batch: int, side: int) -> Tensor:
    torch.manual_seed(1)
    images = torch.rand(batch, 3, side, side).to(device())
    return images if system == SYSTEMS[0] else images.contiguous(memory_format=torch.channels_last)


def make_training(system: str, *, batch: int, side: int, freeze: int = 0) -> TrainingStep:
    """Return a training step with AdamW on smp's Dice loss plus cross entropy."""
    network = _network(system, freeze=freeze)
    images = _images(system, batch, side)
    labels = torch.randint(0, CLASSES, (batch, side, side)).to(device())
    dice = smp.losses.DiceLoss("multiclass")

    def loss(network: nn.Module) -> Tensor:
        logits = network(images).float()
        total: Tensor = nn.functional.cross_entropy(logits, labels) + dice(logits, labels)
        return total

    if isinstance(network, ResNetUNet):
        optimizer = keel_optimizer(network, network.backbone, "adamw")
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
    return TrainingStep(network, loss=loss, optimizer=optimizer, tuned=system != SYSTEMS[0])


def make_inference(system: str, *, batch: int, side: int, tuned: bool) -> Inference:
    """Return the forward pass of random images; Keel's runs and scripts do it in float32."""
    network = _network(system, freeze=0)
    return Inference(network, _images(system, batch, side), tuned=tuned)


def training(*, small: bool) -> Comparison:
    """Compare training steps."""
    batch, side = _shape(small=small)
    make = partial(make_training, batch=batch, side=side)
    return Comparison(
        title=f"U-Net {NAME}, training step, {batch} x {side}x{side}",
        systems={system: partial(make, system) for system in SYSTEMS},
    )


def freezing(*, small: bool) -> Comparison:
    """Compare Keel's training step with frozen stages to that with none."""
    batch, side = _shape(small=small)
    title = f"Freezing, U-Net {NAME}, training step, {batch} x {side}x{side}"
    return by_freeze(title, partial(make_training, batch=batch, side=side), ["Keel"])


def inference(*, small: bool) -> Comparison:
    """Compare the forward pass."""
    batch, side = _shape(small=small)
    make = partial(make_inference, batch=batch, side=side)
    systems = {
        SYSTEMS[0]: partial(make, SYSTEMS[0], tuned=False),
        "smp.Unet, channels_last": partial(make, SYSTEMS[1], tuned=False),
        "Keel": partial(make, "Keel", tuned=False),
    }
    if precision("auto", device=device().type).value != "32-true":
        systems[f"{SYSTEMS[1]} of training"] = partial(make, SYSTEMS[1], tuned=True)
        systems["Keel, in the precision of training"] = partial(make, "Keel", tuned=True)
    return Comparison(title=f"U-Net {NAME}, inference, {batch} x {side}x{side}", systems=systems)


def _shape(*, small: bool) -> tuple[int, int]:
    """Return the batch and the side of the images."""
    return (2, 64) if small else (8, 256)
