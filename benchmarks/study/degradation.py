"""What depth does to a plain network, and to a residual one, in training."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track

from benchmarks.study.gratings import gratings
from benchmarks.study.pairs import KINDS, network


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every network is trained: SGD with momentum 0.9 at one rate, batch norm, He's weights.

    Attributes:
        steps: Updates, each on a new batch.
        batch: Images in a batch.
        rate: Learning rate, the same for all.
        width: Channels of every convolution.
    """

    steps: int = 300
    batch: int = 64
    rate: float = 0.05
    width: int = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trained network.

    Attributes:
        kind: ``plain`` or ``residual``.
        depth: Weight layers.
        seed: Of the weights and of the images.
        losses: Cross entropy in nats, per step.
        errors: Share of wrong answers in [0, 1], per step.
    """

    kind: str
    depth: int
    seed: int
    losses: Sequence[float]
    errors: Sequence[float]

    def final(self) -> tuple[float, float]:
        """Return loss and error, each the mean over the last tenth of the steps."""
        last = max(1, len(self.losses) // 10)
        return statistics.fmean(self.losses[-last:]), statistics.fmean(self.errors[-last:])


def train(kind: str, depth: int, *, seed: int, training: Training) -> Curve:
    """Train one network on `gratings`, each batch measured before its update.

    Args:
        kind: ``plain`` or ``residual``.
        depth: Weight layers; even.
        seed: Networks of one seed see the same batches in the same order.
        training: The recipe.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(depth, kind, width=training.width)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=training.rate, momentum=0.9)
    losses, errors = [], []
    for _ in range(training.steps):
        images, labels = gratings(training.batch, generator=generator)
        scores = model(images)
        loss = F.cross_entropy(scores, labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
        errors.append((scores.argmax(dim=1) != labels).double().mean().item())
    return Curve(kind=kind, depth=depth, seed=seed, losses=losses, errors=errors)


def degradation(
    depths: Sequence[int], *, seeds: Sequence[int], training: Training, console: Console
) -> list[Curve]:
    """Train a plain and a residual network of every depth for every seed.

    Args:
        depths: Weight layers; even.
        seeds: One network of each kind and depth per seed.
        training: The recipe, the same for all.
        console: Where the progress bar goes.
    """
    jobs = list(product(seeds, depths, KINDS))
    shown = track(jobs, description="training", console=console, transient=True)
    return [train(kind, depth, seed=seed, training=training) for seed, depth, kind in shown]
