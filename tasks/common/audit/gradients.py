"""Which parameters a step can move."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def moved_by_gradient(
    trained: Mapping[str, Tensor],
    optimizer: Optimizer,
    rates: Iterable[float],
    names: Iterable[str],
) -> set[str] | None:
    """Return which of ``names`` have a gradient that moves them; None if one is not finite.

    A step of 1e-8 is lost in float32 next to a weight of 1, so such a parameter may stay unchanged.
    """
    gradients = [p.grad for p in trained.values() if p.grad is not None]
    if not bool(torch.stack([g.isfinite().all() for g in gradients]).all()):
        return None
    groups = {
        id(p): (group, rate)
        for group, rate in zip(optimizer.param_groups, rates, strict=True)
        for p in group["params"]
    }
    moves = {
        name: (p.sub(_direction(p.grad, group), alpha=rate) != p).any()
        for name in names
        if (p := trained[name]).grad is not None
        for group, rate in [groups[id(p)]]
    }
    found = torch.stack([*moves.values()]).tolist() if moves else []  # one wait for the device
    return {name for name, move in zip(moves, found, strict=True) if move}


def _direction(gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Return what the first step with a gradient goes along: AdamW's is of size 1."""
    return gradient / (gradient.abs() + group["eps"]) if "eps" in group else gradient
