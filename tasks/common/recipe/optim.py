"""The recipe's optimiser and its schedule."""

from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim import Optimizer

from backbones import Backbone
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.schedule import warmup_cosine


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
