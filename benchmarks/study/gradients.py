"""How much gradient reaches the first layer of a deep network."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.study.gratings import gratings
from benchmarks.study.pairs import KINDS, convolutions, network

SETTINGS: Final[dict[str, tuple[str, str]]] = {
    "He, batch norm": ("he", "batch"),
    "He, no norm": ("he", "none"),
    "torch, no norm": ("torch", "none"),
}
"""Label to initialisation and norm."""

WIDTH: Final = 16
IMAGES: Final = 16


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Gradient norms of one kind of network, the median over seeds.

    Attributes:
        kind: ``plain`` or ``residual``.
        setting: A key of `SETTINGS`.
        by_layer: Depth to the norm for each convolution's weight, first to last.
    """

    kind: str
    setting: str
    by_layer: Mapping[int, Sequence[float]]

    def ratio(self, depth: int) -> float:
        """Return the first convolution's norm over the last one's."""
        return self.by_layer[depth][0] / self.by_layer[depth][-1]


def gradient_norms(model: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Return the L2 norm of the cross entropy's gradient for each convolution, first to last.

    Args:
        model: In training mode; it keeps no gradient.
        images: (N, C, H, W).
        labels: (N,), the classes.
    """
    weights = [layer.weight for layer in convolutions(model)]
    loss = F.cross_entropy(model(images), labels)
    return [gradient.norm().item() for gradient in torch.autograd.grad(loss, weights)]


def measure(depths: Sequence[int], *, seeds: Sequence[int]) -> list[Norms]:
    """Measure plain and residual networks at initialisation, in every one of the `SETTINGS`.

    All networks of a seed see the same images and have the same width; the arithmetic is float64,
    because some of the norms are below float32's smallest number.

    Args:
        depths: Weight layers of the networks; even.
        seeds: One network and one batch of images each.
    """
    return [
        Norms(
            kind=kind,
            setting=setting,
            by_layer={depth: _median(depth, kind, setting, seeds=seeds) for depth in depths},
        )
        for setting in SETTINGS
        for kind in KINDS
    ]


def _median(depth: int, kind: str, setting: str, *, seeds: Sequence[int]) -> list[float]:
    initialisation, norm = SETTINGS[setting]
    measured = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        images, labels = gratings(IMAGES, generator=generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = network(depth, kind, norm=norm, initialisation=initialisation, width=WIDTH)
        measured.append(gradient_norms(model.double(), images.double(), labels))
    return [statistics.median(layer) for layer in zip(*measured, strict=True)]
