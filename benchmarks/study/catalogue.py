"""What each backbone is, measured without computing anything, and what is published of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from backbones import build_backbone, list_backbones
from backbones.choose import nearest
from benchmarks.study.published import TIMM_AND_PAPERS, Published

IMAGENET_SIZE: Final = 224
CIFAR_SIZE: Final = 32


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A backbone in numbers.

    Attributes:
        name: As registered.
        parameters: Without a classifier.
        multiply_adds: For one image of ``size`` pixels squared, convolutions and matrix products
            alone; one multiply-add counts as one operation, as in the papers. Where the image
            decides which blocks run, all of them are counted.
        size: 224, or 32 for a network whose stem keeps the resolution, as those for CIFAR do.
        strides: By feature, finest first.
        channels: By feature, finest first.
    """

    name: str
    parameters: int
    multiply_adds: int
    size: int
    strides: dict[str, int]
    channels: dict[str, int]


def facts(name: str) -> Facts:
    """Build a backbone on torch's meta device and count.

    Args:
        name: A name that `backbones.build_backbone` takes.

    Raises:
        ValueError: If the name is unknown.
    """
    with torch.device("meta"):  # shapes only
        backbone = build_backbone(name).eval()
        size = CIFAR_SIZE if min(backbone.strides.values()) == 1 else IMAGENET_SIZE
        image = torch.empty(1, 3, size, size)
        try:
            operations = _operations(backbone, image)
        except NotImplementedError:  # which blocks run depends on the image; in training all do
            operations = _operations(backbone.train(), image)
    return Facts(
        name=name,
        parameters=sum(p.numel() for p in backbone.parameters()),
        multiply_adds=operations // 2,
        size=size,
        strides=dict(backbone.strides),
        channels=dict(backbone.channels),
    )


def _operations(backbone: nn.Module, image: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        backbone(image)
    return counter.get_total_flops()


def described(row: Facts) -> tuple[str, ...]:
    """Return the cells of a table: name, millions of parameters, GFLOPs, strides and channels.

    Args:
        row: Of `facts`; a star marks GFLOPs that are not for the size of ImageNet.
    """
    star = "" if row.size == IMAGENET_SIZE else "*"
    return (
        row.name,
        f"{row.parameters / 1e6:.2f}",
        f"{row.multiply_adds / 1e9:.2f}{star}",
        " ".join(map(str, row.strides.values())),
        " ".join(map(str, row.channels.values())),
    )


def published(name: str) -> list[Published]:
    """Return the ImageNet weights and accuracies that are published for a backbone.

    torchvision's come from the cards in its own package, so that nothing is downloaded.

    Args:
        name: A registered name; without a publication the list is empty.
    """
    return [*_torchvision(name), *TIMM_AND_PAPERS.get(name, ())]


def check_names(names: Iterable[str], *, commands: Iterable[str]) -> None:
    """Refuse a misspelt command, which would otherwise be taken for the name of a backbone.

    Args:
        names: What stands where names of backbones may stand.
        commands: The commands that can stand there instead.

    Raises:
        ValueError: If a name is no backbone's, is close to none, and is close to a command.
    """
    known = list_backbones()
    for name in names:
        meant = nearest(name, commands)
        if meant and not nearest(name, known):
            raise ValueError(
                f"{name!r} is neither a backbone nor a command; did you mean the command {meant!r}?"
            )


def _torchvision(name: str) -> list[Published]:
    try:
        entries: list[Any] = list(get_model_weights(name))
    except ValueError:  # torchvision has no such model
        return []
    return [
        Published(
            weights=entry.name.replace("IMAGENET1K_", "imagenet_").lower(),
            top1=entry.meta["_metrics"]["ImageNet-1K"]["acc@1"],
            source="torchvision",
        )
        for entry in entries
        if entry.name.startswith("IMAGENET1K_")
    ]
