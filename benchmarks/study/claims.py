"""The founding claims: what shortcuts do for the gradient and for training, by depth.

``python scripts/inspect_backbone.py gradients`` runs this. Plain and residual networks have the
same layers, width and initial weights. Shortcuts are identities, so no parameter differs. The
images are generated stripes, and the class is their direction.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track
from torch import Tensor, nn

from backbones import UserError, norm_factory
from benchmarks.tables import markdown_table
from tasks.common.machine.machine import describe
from tasks.common.machine.threads import prepare_cpu
from tasks.common.report.curves import write_figure
from tasks.common.report.run_folder import write_text

KINDS: Final = ("plain", "residual")
SETTINGS: Final[dict[str, dict[str, str | bool]]] = {
    "He, batch norm": {"norm": "batch", "he": True},
    "He, no norm": {"norm": "none", "he": True},
    "torch, no norm": {"norm": "none", "he": False},
}
CLASSES, SIZE, IMAGES, BATCH, RATE = 10, 12, 16, 64, 0.05
COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe and Ito's
LINES: Final = {"plain": "--", "residual": "-"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: weight layers of the networks, training steps, one network per seed."""

    gradient_depths: Sequence[int] = (10, 20, 50, 100)
    depths: Sequence[int] = (8, 20, 56)
    steps: int = 300
    seeds: Sequence[int] = (0,)


QUICK: Final = Plan(gradient_depths=(10, 100), depths=(8, 32), steps=120)

# By setting and kind, by depth: the gradient's norm for each convolution, first to last.
Gradients = Mapping[tuple[str, str], Mapping[int, Sequence[float]]]
# By kind and depth: for each seed the losses (nats) and the shares of errors, step by step.
Curves = Mapping[tuple[str, int], Sequence[tuple[Sequence[float], Sequence[float]]]]


def gratings(
    count: int, generator: torch.Generator, *, noise: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Draw images (N, 1, 12, 12) of noisy waves, and classes (N,), each with 18 degrees more."""
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    angle = (math.pi / CLASSES * labels)[:, None, None]
    phase, frequency = torch.rand(2, count, 1, 1, generator=generator)
    frequency = 2 * math.pi / (10 - 6 * frequency)
    at = torch.arange(SIZE) - (SIZE - 1) / 2
    along = at[None, :] * angle.cos() + at[:, None] * angle.sin()
    waves = torch.sin(frequency * along + 2 * math.pi * phase)
    return (waves + noise * torch.randn(count, SIZE, SIZE, generator=generator))[:, None], labels


class Pair(nn.Module):
    """Two 3x3 convolutions with norms and ReLUs, the input added if residual; shapes stay.

    Source: He et al., arXiv:1512.03385, section 3.3.
    """

    def __init__(self, width: int, *, norm: str, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = norm_factory(norm)(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = norm_factory(norm)(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        branch: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(x + branch if self.residual else branch)


def network(
    depth: int, kind: str, *, seed: int, width: int = 8, norm: str = "batch", he: bool = True
) -> nn.Sequential:
    """Return a classifier with ``depth`` weight layers: He's (arXiv:1502.01852) or torch's own."""
    if depth < 4 or depth % 2:
        raise ValueError(f"depth takes an even number of at least 4, got {depth}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem = [nn.Conv2d(1, width, 3, padding=1, bias=False), norm_factory(norm)(width), nn.ReLU()]
        pairs = [Pair(width, norm=norm, residual=kind == "residual") for _ in range(depth // 2 - 1)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)]
        model = nn.Sequential(*stem, *pairs, *head)
        for layer in convolutions(model) if he else ():
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a model, first to last."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def gradient_norms(model: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Return the L2 norm of the cross entropy's gradient for each convolution's weight."""
    weights = [layer.weight for layer in convolutions(model)]
    loss = F.cross_entropy(model(images), labels)
    return [gradient.norm().item() for gradient in torch.autograd.grad(loss, weights)]


def measure_gradients(depths: Sequence[int], *, seeds: Sequence[int]) -> Gradients:
    """Measure networks at initialisation, in float64, as some norms are below float32's range."""

    def median(setting: str, kind: str, depth: int) -> list[float]:
        norms = []
        for seed in seeds:
            images, labels = gratings(IMAGES, torch.Generator().manual_seed(seed))
            model = network(depth, kind, seed=seed, width=16, **SETTINGS[setting])  # type: ignore[arg-type]
            norms.append(gradient_norms(model.double(), images.double(), labels))
        return [statistics.median(layer) for layer in zip(*norms, strict=True)]

    return {
        (setting, kind): {depth: median(setting, kind, depth) for depth in depths}
        for setting, kind in product(SETTINGS, KINDS)
    }


def train(kind: str, depth: int, *, seed: int, steps: int) -> tuple[list[float], list[float]]:
    """Train by SGD; return loss and share of errors of each new batch, before its step."""
    model, generator = network(depth, kind, seed=seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    losses, errors = [], []
    for _ in range(steps):
        images, labels = gratings(BATCH, generator)
        scores = model(images)
        loss = F.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        errors.append((scores.argmax(dim=1) != labels).double().mean().item())
    return losses, errors


def final(values: Sequence[float]) -> float:
    """Return the mean over the last tenth of the steps."""
    return statistics.fmean(values[-max(1, len(values) // 10) :])


def gradient_table(gradients: Gradients) -> str:
    """Return the gradients of the first convolutions, and of the last one of the deepest nets."""
    depths = list(next(iter(gradients.values())))
    head = ["network", "initialisation", *(f"first of {depth}" for depth in depths)]
    rows = []
    for (setting, kind), by_depth in gradients.items():
        last = by_depth[depths[-1]][-1]
        values = [*(by_depth[depth][0] for depth in depths), last, by_depth[depths[-1]][0] / last]
        rows.append([kind, setting, *(f"{value:.1e}" for value in values)])
    return markdown_table([*head, f"last of {depths[-1]}", "first / last"], rows)


def training_table(curves: Curves) -> str:
    """Return the final losses and errors by depth: the mean, and the range over seeds."""

    def cell(values: Sequence[float], form: str) -> str:
        mean, low, high = (f(values) for f in (statistics.fmean, min, max))
        spread = f" ({low:{form}} to {high:{form}})" if len(values) > 1 else ""
        return f"{mean:{form}}{spread}"

    def cells(kind: str, depth: int) -> list[str]:
        losses, errors = zip(*curves[kind, depth], strict=True)
        percent = [100 * final(values) for values in errors]
        return [cell([final(values) for values in losses], ".3f"), cell(percent, ".1f")]

    head = ["weight layers", *(f"{k}, {what}" for k in KINDS for what in ("loss", "error (%)"))]
    depths = sorted({depth for _, depth in curves})
    rows = [[str(d), *(text for kind in KINDS for text in cells(kind, d))] for d in depths]
    return markdown_table(head, rows)


def gradients_figure(gradients: Gradients) -> Figure:
    """Return the first convolution's gradient by depth, and every layer's in the deepest nets."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    by_depth, by_layer = figure.subplots(1, 2, sharey=True)
    colors = dict(zip(SETTINGS, COLORS, strict=False))
    for (setting, kind), depths in gradients.items():
        style: dict[str, Any] = {"color": colors[setting], "linestyle": LINES[kind]}
        first = [layers[0] for layers in depths.values()]
        by_depth.plot(list(depths), first, **style, marker="o", label=f"{kind}: {setting}")
        layers = depths[deepest := max(depths)]
        by_layer.plot(range(1, len(layers) + 1), layers, **style)
    by_depth.set(yscale="log", xlabel="weight layers", title="first convolution: gradient's norm")
    by_layer.set(xlabel="convolution, 1 next to the image", title=f"networks of {deepest} layers")
    figure.legend(loc="outside lower center", ncols=len(SETTINGS), frameon=False)
    return figure


def training_figure(curves: Curves) -> Figure:
    """Return the training losses over the steps, and the final errors by depth, a dot per seed."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    over_steps, by_depth = figure.subplots(1, 2)
    depths = sorted({depth for _, depth in curves})
    for (kind, depth), seeds in curves.items():
        style: dict[str, Any] = {"color": COLORS[depths.index(depth)], "linestyle": LINES[kind]}
        means = torch.tensor([losses for losses, _ in seeds]).mean(dim=0)
        window = max(1, len(means) // 20)
        smooth = means.unfold(0, window, 1).mean(dim=1)
        steps = range(window, len(means) + 1)
        over_steps.plot(steps, smooth, **style, label=f"{kind}, {depth} layers")
        percent = [100 * final(errors) for _, errors in seeds]
        by_depth.plot([depth] * len(seeds), percent, "s" if kind == "plain" else "o", **style)
    over_steps.set(xlabel="training step", title="training loss (cross entropy, smoothed)")
    by_depth.set(xlabel="weight layers; squares are plain", title="final error (%)")
    over_steps.legend(ncols=2, fontsize=8)
    return figure


def reproduce(plan: Plan, *, folder: Path, command: str, console: Console) -> None:
    """Measure both claims; print the tables, write them to claims.md, and draw two pictures."""
    for name, value in (("seeds", len(plan.seeds)), ("steps", plan.steps)):
        if value < 1:
            raise UserError(f"--{name} takes a positive number, got {value}.")
    threads, seeds = prepare_cpu(0), list(plan.seeds)
    gradients = measure_gradients(plan.gradient_depths, seeds=seeds)
    jobs = track(list(product(plan.depths, KINDS)), console=console, transient=True)
    curves = {
        (kind, depth): [train(kind, depth, seed=seed, steps=plan.steps) for seed in seeds]
        for depth, kind in jobs
    }
    facts, date = describe(), datetime.now(tz=UTC).date().isoformat()
    machine = f"{facts['processor']}, {facts['cores']} cores; {threads}; torch {torch.__version__}"
    parts = [
        f"`{command}`, {date}, {machine}.",
        "L2 norm of the loss's gradient for a convolution's weight, at initialisation: the median "
        f"over seeds {seeds}; 16 channels, {IMAGES} images of {SIZE}x{SIZE}, float64; torch: what "
        "torch draws by itself, a sixth of He's variance:",
        gradient_table(gradients),
        f"After {plan.steps} steps of SGD (momentum 0.9, rate {RATE}, {BATCH} new images a step), "
        "8 channels, batch norm, He's initialisation: mean (lowest to highest) over seeds "
        f"{seeds}, last tenth of the steps:",
        training_table(curves),
    ]
    page = "\n\n".join(parts)
    console.print(Markdown(page))
    write_text(folder / "claims.md", f"{page}\n")
    write_figure(gradients_figure(gradients), folder / "gradients.png")
    write_figure(training_figure(curves), folder / "degradation.png")
    console.print(f"written: gradients.png, degradation.png and claims.md in {folder}")
