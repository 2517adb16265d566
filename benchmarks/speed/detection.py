"""Faster R-CNN of torchvision, as documented and with Keel's precision, beside Keel's."""

from functools import partial
from typing import Final

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from backbones import build_backbone
from benchmarks.harness import Comparison, device
from benchmarks.speed.steps import Inference, TrainingStep, by_freeze, keel_optimizer
from tasks.common.run.config import plain_values
from tasks.detection.config import DETECTION
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions

BOXES: Final = 14  # per image, as in BCCD
CLASSES: Final = 3
SYSTEMS: Final = (
    "torchvision, as documented",
    "torchvision, with Keel's precision and layout",
    "Keel",
)

Size = tuple[int, int]


def calibrated(name: str) -> dict[str, Tensor]:
    """Return torchvision's random weights with statistics of noise; without, features explode."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        network(torch.randn(4, 3, 224, 224))
    state = network.state_dict()
    return {k: v for k, v in state.items() if not k.startswith("fc.") and "num_batches" not in k}


def torchvision_detector(
    name: str, *, size: Size, freeze: int, classes: int = CLASSES
) -> FasterRCNN:
    """Return torchvision's detector with frozen batch norms."""
    body = resnet_fpn_backbone(
        backbone_name=name,
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=5 - freeze,
    )
    body.body.load_state_dict(calibrated(name))
    return FasterRCNN(body, num_classes=classes + 1, min_size=min(size), max_size=max(size))


def keel_detector(name: str, *, size: Size, freeze: int, model: str = "faster_rcnn") -> FasterRCNN:
    """Return Keel's with the weights of torchvision's; of a preset that differs, the backbone's."""
    theirs = torchvision_detector(name, size=size, freeze=freeze)
    backbone = build_backbone(name, weights="random", norm="frozen_batch", freeze=freeze)
    preset = plain_values(DETECTION.compose([f"model={model}"]).model)
    options = DetectorOptions(**preset | {"min_size": min(size), "max_size": max(size)})
    detector = build_detector(backbone, num_classes=CLASSES, options=options)
    if model != "faster_rcnn":
        backbone.load_state_dict(calibrated(name), strict=False)
    else:
        detector.load_state_dict(theirs.state_dict())
    return detector.to(memory_format=torch.channels_last)


def _network(system: str, name: str, *, size: Size, freeze: int) -> FasterRCNN:
    torch.manual_seed(0)
    if system == "Keel":
        return keel_detector(name, size=size, freeze=freeze).to(device())
    network = torchvision_detector(name, size=size, freeze=freeze).to(device())
    return network.to(memory_format=torch.channels_last) if system == SYSTEMS[1] else network


class Losses:
    """The summed losses of a detector on one batch of random images and boxes."""

    def __init__(self, batch: int, size: Size) -> None:
        height, width = size
        torch.manual_seed(1)
        corners = torch.rand(batch, BOXES, 2) * torch.tensor([width * 0.8, height * 0.8])
        boxes = torch.cat([corners, corners + height * 0.15], dim=2).to(device())
        labels = torch.ones(BOXES, dtype=torch.int64, device=device())
        self.targets = [{"boxes": one, "labels": labels} for one in boxes]
        self.images = list(torch.rand(batch, 3, height, width).to(device()))

    def __call__(self, network: nn.Module) -> Tensor:
        """Return them."""
        losses: dict[str, Tensor] = network(self.images, self.targets)
        return torch.stack(list(losses.values())).sum()


def make_training(system: str, *, name: str, batch: int, size: Size, freeze: int) -> TrainingStep:
    """Return a training step with SGD, as in torchvision's reference."""
    network = _network(system, name, size=size, freeze=freeze)
    if system == "Keel":
        optimizer = keel_optimizer(network, network.backbone.body, "sgd")
    else:
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, weight_decay=1e-4)
    loss = Losses(batch, size)
    return TrainingStep(network, loss=loss, optimizer=optimizer, tuned=system != SYSTEMS[0])


def make_inference(system: str, *, name: str, size: Size) -> Inference:
    """Return the detection in one random image."""
    network = _network(system, name, size=size, freeze=2)
    torch.manual_seed(1)
    image = torch.rand(3, *size).to(device())
    return Inference(network, [image], tuned=system != SYSTEMS[0])


def training(name: str, *, small: bool) -> Comparison:
    """Compare training steps, for each count of frozen stages."""
    size = _size(small=small)
    title = f"Faster R-CNN {name}-FPN, training step, 2 x {size[0]}x{size[1]}"
    return by_freeze(title, partial(make_training, name=name, batch=2, size=size), SYSTEMS)


def training_gpu(*, small: bool) -> Comparison:
    """Compare training steps of a size for a GPU."""
    batch, size = (4, (96, 128)) if small else (16, (800, 1333))
    title = f"Faster R-CNN resnet50-FPN, training step, {batch} x {size[0]}x{size[1]}"
    make = partial(make_training, name="resnet50", batch=batch, size=size)
    return by_freeze(title, make, SYSTEMS, freezes=(2,))


def freezing(name: str, *, small: bool) -> Comparison:
    """Compare Keel's training step with frozen stages to that with none."""
    size = _size(small=small)
    title = f"Freezing, Faster R-CNN {name}-FPN, training step, 2 x {size[0]}x{size[1]}"
    return by_freeze(title, partial(make_training, name=name, batch=2, size=size), ["Keel"])


def make_cheaper(key: str, *, name: str, size: Size) -> TrainingStep:
    """Return a training step of Keel's, by a key of `CHEAPER`."""
    model, freeze, checkpointing = CHEAPER[key]
    network = keel_detector(name, size=size, freeze=freeze, model=model).to(device())
    network.backbone.body.set_grad_checkpointing(checkpointing)
    optimizer = keel_optimizer(network, network.backbone.body, "sgd")
    return TrainingStep(network, loss=Losses(2, size), optimizer=optimizer, tuned=True)


# The preset, the frozen stages, and whether activations are computed twice.
CHEAPER: Final = {
    "standard head, freeze 0": ("faster_rcnn", 0, False),
    "standard head, freeze 4": ("faster_rcnn", 4, False),
    "light head, freeze 0": ("light", 0, False),
    "light head, freeze 4": ("light", 4, False),
    "standard head, freeze 0, grad_checkpointing": ("faster_rcnn", 0, True),
}


def cheaper(name: str, *, small: bool) -> Comparison:
    """Compare what makes a training step cheaper: a lighter head, frozen stages, less memory."""
    size = _size(small=small)
    return Comparison(
        title=f"Cheaper steps, Faster R-CNN {name}-FPN, training step, 2 x {size[0]}x{size[1]}",
        systems={key: partial(make_cheaper, key, name=name, size=size) for key in CHEAPER},
        base={key: key.replace("freeze 4", "freeze 0") for key in CHEAPER if "freeze 4" in key},
    )


def inference(name: str, *, small: bool) -> Comparison:
    """Compare inference, one image at a time."""
    size = _size(small=small)
    return Comparison(
        title=f"Faster R-CNN {name}-FPN, inference, {size[0]}x{size[1]}",
        systems={s: partial(make_inference, s, name=name, size=size) for s in SYSTEMS},
    )


def _size(*, small: bool) -> Size:
    return (96, 128) if small else (480, 640)
