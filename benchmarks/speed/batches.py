"""Images a second of inference by batch size: eight images, one at a time up to all at once.

The U-Net computes windows in float32, as a run's validation and ``predict.py`` do.
"""

from functools import partial
from typing import Any, Final

import torch
from torch import nn

from benchmarks.harness import Comparison, device
from benchmarks.speed import detection, segmentation
from benchmarks.speed.steps import arithmetic

IMAGES: Final = 8
BATCHES: Final = (1, 2, 4, 8)
DETECTOR, UNET = "Faster R-CNN resnet50-FPN", "U-Net resnet34"


class Batches:
    """Inference of `IMAGES` random images in batches; ``compiled``: with the backbone compiled."""

    def __init__(self, kind: str, batch: int, *, small: bool, compiled: bool) -> None:
        self.network: Any
        self.network, self.images = (_detector if kind == DETECTOR else _unet)(small=small)
        self.listed = kind == DETECTOR
        self.batch = batch
        self.autocast, text = arithmetic(self.network, tuned=self.listed)
        self.note = partial(_rate, text)
        if compiled:
            backbone = self.network.backbone
            (backbone.body if self.listed else backbone).compile()

    @torch.inference_mode()
    def __call__(self) -> None:
        """Do it once."""
        with self.autocast:
            for some in torch.split(self.images, self.batch):
                self.network(list(some) if self.listed else some)


def _rate(text: str, seconds: float) -> str:
    return f"{IMAGES / seconds:.2f} images/s, {text}"


def _detector(*, small: bool) -> tuple[nn.Module, torch.Tensor]:
    name, size = ("resnet18", (96, 128)) if small else ("resnet50", (480, 640))
    network = detection.keel_detector(name, size=size, freeze=2)
    return network.to(device()).eval(), _random(size)


def _unet(*, small: bool) -> tuple[nn.Module, torch.Tensor]:
    side = 64 if small else 256
    network = segmentation.keel_unet().to(device()).to(memory_format=torch.channels_last)
    return network.eval(), _random((side, side)).contiguous(memory_format=torch.channels_last)


def _random(size: tuple[int, int]) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(IMAGES, 3, *size).to(device())


def comparison(*, small: bool, compiled: bool = False) -> Comparison:
    """Compare batches with single images, for a detector and a U-Net, or compiled with eager."""
    systems, base = {}, {}
    for kind in (DETECTOR, UNET):
        for batch in (1, IMAGES) if compiled else BATCHES:
            key = f"Keel, {kind}, batch {batch}"
            systems[key] = partial(Batches, kind, batch, small=small, compiled=False)
            base[key] = key if compiled else f"Keel, {kind}, batch 1"
            if compiled:
                make = partial(Batches, kind, batch, small=small, compiled=True)
                systems[f"{key}, compiled"], base[f"{key}, compiled"] = make, key
    title = f"Inference of {IMAGES} images in batches{', eager and compiled' * compiled}"
    return Comparison(title=title, systems=systems, base=base, memory=False)
