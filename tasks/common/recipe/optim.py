"""The recipe's optimiser and its schedule."""

import math
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim import Optimizer

from backbones import Backbone
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.recipe import Recipe


def build_optimizer(
    groups: list[dict[str, Any]], recipe: Recipe, *, precision: str = "32-true"
) -> Optimizer:
    """Return the recipe's optimiser over the groups of `parameter_groups`.

    It is fused, except in ``16-mixed``, where torch's fused SGD uses a momentum that was never
    written if the gradient scaler skips the first step, and with clipping in mixed precision,
    which Lightning refuses.
    """
    unfused = precision == "16-mixed" or (recipe.clip and precision.endswith("mixed"))
    fused = None if unfused else True  # None leaves the choice of another kernel to torch
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)


def scheduled_optimizer(
    network: nn.Module,
    backbone: Backbone,
    *,
    recipe: Recipe,
    devices: int,
    steps: int,
    precision: str,
) -> OptimizerLRSchedulerConfig:
    """Return the recipe's optimiser and schedule, over all ``steps``, as Lightning wants them."""
    groups = parameter_groups(network, backbone, recipe=recipe, lr=recipe.peak_lr(devices))
    optimizer = build_optimizer(groups, recipe, precision=precision)

    shape = {"warmup": recipe.warmup, "total": steps, "restarts": recipe.restarts}
    factor = partial(warmup_cosine, **shape, final=recipe.final_lr_factor)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warmup_cosine(
    step: int, *, warmup: int, total: int, final: float = 0.0, restarts: int = 0
) -> float:
    """Return the learning-rate factor at ``step``: a linear rise to 1, then a cosine to ``final``.

    At most half of ``total`` is used for the rise; the steps after it are divided evenly by the
    ``restarts``, at each of which the factor jumps back to 1.
    Source: Loshchilov and Hutter, arXiv:1608.03983, equation 5, with periods of one length.

    >>> [round(warmup_cosine(s, warmup=2, total=6), 3) for s in range(7)]
    [0.333, 0.667, 1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [round(warmup_cosine(s, warmup=2, total=6, restarts=1), 3) for s in range(7)]
    [0.333, 0.667, 1.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = min(warmup, total // 2)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    length = max(1, total - warmup)
    # In whole numbers, so that a period begins exactly where the one before ends.
    done = (step - warmup) * (restarts + 1)
    progress = 1.0 if step >= total else done % length / length
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
