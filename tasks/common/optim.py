"""The recipe of a run as data: parameter groups, the optimiser, the learning rate over time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim import Optimizer

from backbones import Backbone
from backbones.choose import choose

_NOT_NEGATIVE: Final = (
    "lr",
    "backbone_lr_factor",
    "momentum",
    "weight_decay",
    "warmup",
    "final_lr_factor",
    "clip",
    "gate_weight",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, whatever the task and the architecture.

    Attributes:
        epochs: How often each image is seen.
        batch_size: Images per step on one device.
        accumulate: Steps whose gradients are added up before the weights move.
        optimizer: ``sgd`` with Nesterov-free momentum, or ``adamw``.
        lr: Learning rate of a step over ``lr_images`` images; scaled linearly with the effective
            batch (Goyal et al., arXiv:1706.02677).
        lr_images: The effective batch that ``lr`` is meant for.
        backbone_lr_factor: The backbone's learning rate over the others'.
        momentum: Of SGD; AdamW's first beta.
        weight_decay: Of weights; norms and biases have none.
        warmup: Steps over which the learning rate rises from 0, linearly.
        final_lr_factor: The last learning rate over the highest, at the end of the cosine.
        clip: Gradients are scaled down to this norm; 0 leaves them.
        gate_target: Of a backbone with gates, the share of its residuals that is to count, from 0
            to 1; None leaves that to the task's loss.
        gate_weight: Of the penalty for missing it, in the loss.
    """

    epochs: int = 12
    batch_size: int = 4
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float = 0.02
    lr_images: int = 16
    backbone_lr_factor: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: int = 100
    final_lr_factor: float = 0.0
    clip: float = 0.0
    gate_target: float | None = None
    gate_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot train, and strings where numbers belong."""
        for name in ("epochs", "batch_size", "accumulate", "lr_images"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise ValueError(f"recipe.{name} takes an integer of at least 1, got {value!r}.")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"recipe.{name} takes a number of at least 0, got {value!r}.")
        if self.momentum >= 1:
            raise ValueError(f"recipe.momentum takes a number below 1, got {self.momentum!r}.")
        if self.gate_target is not None and not 0 <= self.gate_target <= 1:
            raise ValueError(
                f"recipe.gate_target takes a share from 0 to 1, or null, got {self.gate_target!r}."
            )
        choose(_OPTIMIZERS, self.optimizer, what="optimizer")

    def effective_batch(self, devices: int) -> int:
        """Return the images that one movement of the weights is made of."""
        return self.batch_size * self.accumulate * devices

    def peak_lr(self, devices: int) -> float:
        """Return the highest learning rate, scaled to the effective batch."""
        return self.lr * self.effective_batch(devices) / self.lr_images


def parameter_groups(
    network: nn.Module, backbone: Backbone, *, recipe: Recipe, lr: float
) -> list[dict[str, Any]]:
    """Return every parameter of ``network`` in fixed groups, frozen ones included.

    One group per backbone stage and one for the rest, each split into what decays (weights) and
    what does not (norms and biases: everything with one dimension). The groups do not depend on
    what is frozen: a frozen parameter has no gradient, and both optimisers leave it alone.

    Args:
        network: What is trained.
        backbone: The part of it that has stages.
        recipe: Weight decay and the backbone's learning-rate factor.
        lr: The peak learning rate of what is not the backbone.
    """
    names = ["stem", *(f"c{k}" for k in range(2, len(backbone.stages()) + 1))]
    owner = {
        id(parameter): name
        for name, stage in zip(names, backbone.stages(), strict=True)
        for module in stage
        for parameter in module.parameters()
    }
    groups: dict[str, dict[str, Any]] = {}
    for parameter in network.parameters():
        stage = owner.get(id(parameter), "head")
        decays = parameter.ndim > 1
        name = f"{stage}/{'decay' if decays else 'no decay'}"
        group = groups.setdefault(
            name,
            {
                "name": name,
                "params": [],
                "lr": lr * (1.0 if stage == "head" else recipe.backbone_lr_factor),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def _sgd(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)


def _adamw(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))


_OPTIMIZERS: Final[dict[str, Callable[[list[dict[str, Any]], Recipe], Optimizer]]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}


def build_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    """Return the recipe's optimiser over the groups of `parameter_groups`."""
    return choose(_OPTIMIZERS, recipe.optimizer, what="optimizer")(groups, recipe)


def scheduled_optimizer(
    network: nn.Module, backbone: Backbone, *, recipe: Recipe, devices: int, steps: int
) -> OptimizerLRSchedulerConfig:
    """Return the recipe's optimiser over fixed groups, and its schedule, as Lightning wants them.

    Args:
        network: What is trained.
        backbone: The part of it that has stages.
        recipe: Optimiser, learning rate and schedule.
        devices: How many processes share a batch; scales the learning rate.
        steps: Of the whole run.
    """
    groups = parameter_groups(network, backbone, recipe=recipe, lr=recipe.peak_lr(devices))
    optimizer = build_optimizer(groups, recipe)

    def factor(step: int) -> float:
        return warmup_cosine(step, warmup=recipe.warmup, total=steps, final=recipe.final_lr_factor)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warmup_cosine(step: int, *, warmup: int, total: int, final: float = 0.0) -> float:
    """Return the learning-rate factor at ``step``: a linear rise to 1, then a cosine to ``final``.

    Source: Loshchilov and Hutter, arXiv:1608.03983, equation 5, without restarts.

    Args:
        step: From 0.
        warmup: Steps of the rise; at most half of ``total`` is used.
        total: Steps of the whole run.
        final: The factor after the last step.

    Example:
        >>> [round(warmup_cosine(s, warmup=2, total=6), 3) for s in range(7)]
        [0.333, 0.667, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    warmup = min(warmup, total // 2)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
