"""Build the backbone of a run, and decide what its options leave open: norm, frozen stages."""

from dataclasses import fields, replace
from functools import cache, partial

import torch

from backbones import Backbone, BackboneOptions, build_backbone
from backbones.weights.architecture import build_on_meta
from tasks.common.options.decision import Decision
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.stages import STAGES

SMALL_BATCH = 8  # below it batch statistics are too noisy (Wu and He, arXiv:1803.08494, figure 1)


def build_chosen(
    choice: BackboneChoice,
    *,
    in_channels: int,
    norm: str,
    freeze: int,
    out_features: tuple[str, ...] | None = None,
) -> Backbone:
    """Build the backbone of a run; raise as `backbones.build_backbone`."""
    names = {field.name for field in fields(BackboneOptions)} & {f.name for f in fields(choice)}
    options = {name: getattr(choice, name) for name in names}
    decided = {"in_channels": in_channels, "norm": norm, "init": _init(choice)}
    return build_backbone(
        choice.name,
        weights="random" if choice.weights is None else choice.weights,
        conventions=choice.conventions,
        freeze=freeze,
        out_features=out_features,
        **options | decided,
    )


@cache
def outline(name: str) -> Backbone | None:
    """Return a backbone without data; None where the name is unknown or its builder needs data."""
    return build_on_meta(partial(build_backbone, name))


def norms_of(choice: BackboneChoice) -> tuple[str, ...] | None:
    """Return the norms that the backbone can be built with; None if it can have any."""
    backbone = outline(choice.name)
    return None if backbone is None else backbone.possible_norms


def coarsest_stride(choice: BackboneChoice, *, norm: str) -> int:
    """Return the largest stride of the backbone's features: 32 of most, 4 of those for CIFAR."""
    plain = replace(choice, weights="random", conventions=None)
    build = partial(build_chosen, plain, in_channels=3, norm=norm, freeze=0)
    with torch.random.fork_rng(devices=[]):  # the run's own weights are drawn later
        backbone = build_on_meta(build) or build()
    return max(backbone.strides.values())


def choose_norm(choice: BackboneChoice, *, batch_size: int) -> Decision:
    """Return the backbone's norm.

    ``auto`` keeps the statistics of loaded batch norms (``frozen_batch``), which small batches
    would spoil. Without weights it is ``batch`` from 8 images per device on, else ``group``. A
    backbone that cannot have that norm, such as many of timm's, keeps its own.
    """
    if choice.norm != "auto":
        return Decision(choice.norm, "as configured")
    best = _best_norm(choice, batch_size=batch_size)
    able = norms_of(choice)
    if able is None or best.value in able:
        return best
    why = "it has no batch norm"
    if "frozen_batch" in able:
        why = f"it cannot have others, though {batch_size} images are few for its batch norms"
    return Decision(able[0], f"{choice.name} keeps its own norms: {why}")


def _best_norm(choice: BackboneChoice, *, batch_size: int) -> Decision:
    """Return the norm for a backbone that can have any."""
    if choice.loaded:
        return Decision("frozen_batch", "loaded statistics are kept")
    if batch_size < SMALL_BATCH:
        return Decision("group", f"no weights, {batch_size} images per batch")
    return Decision("batch", "no weights to keep statistics of")


def _init(choice: BackboneChoice) -> str:
    if choice.init != "auto":
        return choice.init
    backbone = outline(choice.name)
    able = None if backbone is None else backbone.possible_inits
    return "zero_last" if able is None or "zero_last" in able else able[0]


def choose_freeze(choice: BackboneChoice, *, usual: int, recipe: Recipe) -> Decision:
    """Return how many stages are frozen.

    ``auto``: none without loaded weights; else all down to the last that the recipe unfreezes, or
    the ``usual`` number of the task.
    """
    if choice.freeze != "auto":
        return Decision(str(choice.freeze), "as configured")
    if not choice.loaded:
        return Decision("0", "no weights were loaded")
    if recipe.unfreeze:
        last = max(map(STAGES.index, recipe.unfreeze))
        return Decision(str(last + 1), f"the recipe unfreezes them down to {STAGES[last]}")
    reason = "of loaded weights" if usual else "loaded weights learn, statistics stay"
    return Decision(str(usual), reason)
