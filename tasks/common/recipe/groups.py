"""Parameter groups: the learning rate of each stage, and what has weight decay."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from backbones import Backbone
from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.stages import HEAD, STAGES


def stage_lrs(recipe: Recipe, *, lr: float, stages: int) -> dict[str, float]:
    """Return the peak learning rate of each stage and of the head, whose rate is ``lr``."""
    last = lr * recipe.backbone_lr_factor
    rates = {name: last * recipe.lr_decay ** (stages - 1 - k) for k, name in enumerate(STAGES)}
    return {HEAD: lr, **dict(list(rates.items())[:stages])}


def parameter_groups(
    network: nn.Module, backbone: Backbone, *, recipe: Recipe, lr: float
) -> list[dict[str, Any]]:
    """Return every parameter of ``network`` in fixed groups, frozen ones included.

    A group per stage and one for the head, each split into weights, which decay, and norms and
    biases (one dimension), which do not. Optimisers skip a frozen parameter, which has no gradient,
    so that it starts with a clean state when it is unfrozen.
    """
    stage_of = stage_of_tensors(backbone)
    rates = stage_lrs(recipe, lr=lr, stages=len(backbone.stages()))
    groups: dict[str, dict[str, Any]] = {}
    for parameter in network.parameters():
        stage = stage_of.get(id(parameter), HEAD)
        decays = parameter.ndim > 1
        name = f"{stage}/{'decay' if decays else 'no decay'}"
        decay = recipe.weight_decay if decays else 0.0
        new = {"name": name, "params": [], "lr": rates[stage], "weight_decay": decay}
        groups.setdefault(name, new)["params"].append(parameter)
    return list(groups.values())


def stage_modules(backbone: Backbone) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each stage with each of its modules, nested ones included."""
    for name, stage in zip(STAGES, backbone.stages(), strict=False):
        for module in stage:
            for inner in module.modules():
                yield name, inner


def stage_of_tensors(backbone: Backbone) -> dict[int, str]:
    """Return the name of the stage of each parameter and buffer, by its ``id``."""
    return {
        id(tensor): name
        for name, module in stage_modules(backbone)
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    }
