"""The recipe's target for the gates of a backbone."""

import torch
from torch import Tensor

from backbones import Backbone
from backbones.errors import UserError
from backbones.layers.gate import Gate, GateRecord
from tasks.common.recipe.recipe import Recipe


def check_gates(backbone: Backbone, recipe: Recipe) -> None:
    """Raise UserError if the recipe has a target for gates and the backbone has none."""
    gated = any(isinstance(module, Gate) for module in backbone.modules())
    if recipe.gate_target is not None and not gated:
        raise UserError(
            f"recipe.gate_target={recipe.gate_target} needs a backbone with gates, such as "
            "backbone=dynamic_resnet50; leave it out, or change the backbone."
        )


def gate_losses(record: GateRecord, recipe: Recipe) -> dict[str, Tensor]:
    """Return the penalty of a forward pass for missing the recipe's target, if there is one."""
    if recipe.gate_target is None:
        return {}
    return {"loss_gates": recipe.gate_weight * record.penalty(recipe.gate_target)}


def mean_share(record: GateRecord) -> dict[str, Tensor]:
    """Return the mean share of the residuals for the log; nothing without gates."""
    if not record.shares:
        return {}
    return {"train/gate_share": torch.stack([s.detach().mean() for s in record.shares]).mean()}
