"""What a recipe asks of a backbone's gates: how much of its residuals is to count."""

import torch
from torch import Tensor

from backbones import Backbone
from backbones.errors import UserError
from backbones.layers.gate import Gate, GateRecord
from tasks.common.recipe.recipe import Recipe


def check_gates(backbone: Backbone, recipe: Recipe) -> None:
    """Raise if a recipe has a target for gates that a backbone does not have.

    Raises:
        ValueError: If so.
    """
    gated = any(isinstance(module, Gate) for module in backbone.modules())
    if recipe.gate_target is not None and not gated:
        raise UserError(
            f"recipe.gate_target={recipe.gate_target} needs a backbone with gates, such as "
            "backbone=dynamic_resnet50; leave it out, or change the backbone."
        )


def gate_losses(record: GateRecord, recipe: Recipe) -> dict[str, Tensor]:
    """Return the penalty for missing the recipe's target, or nothing where there is none.

    Args:
        record: Of one forward pass in training.
        recipe: The target and the weight of the penalty.
    """
    if recipe.gate_target is None:
        return {}
    return {"loss_gates": recipe.gate_weight * record.penalty(recipe.gate_target)}


def mean_share(record: GateRecord) -> dict[str, Tensor]:
    """Return how much of the residuals counted, for the log; nothing where there are no gates."""
    if not record.shares:
        return {}
    return {"train/gate_share": torch.stack([s.detach().mean() for s in record.shares]).mean()}
