"""Which runs can have a prefix cache."""

from typing import Final

from backbones import Backbone
from backbones.layers.gate import Gate
from tasks.common.data.prefix.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe

FEWEST: Final = 3
"""Frozen stages; below that the prefix is cheap, and what it returns is large."""


def check_prefix(
    cache: CacheOptions, backbone: Backbone, *, recipe: Recipe, options: TrainerOptions
) -> None:
    """Raise if a cache cannot give what the run would compute."""
    views = f"cache.views={cache.views}"
    if backbone.frozen < FEWEST:
        raise ValueError(
            f"{views} takes at least {FEWEST} frozen stages, and {backbone.frozen} are frozen: add "
            f"backbone.freeze={FEWEST} or more, or leave it out."
        )
    if recipe.unfreeze or recipe.frozen_until:
        raise ValueError(
            f"{views} takes stages that stay frozen: leave recipe.unfreeze and recipe.frozen_until "
            "out, or the cache."
        )
    frozen = [m for stage in backbone.stages()[: backbone.frozen] for m in stage]
    if any(isinstance(module, Gate) for stage in frozen for module in stage.modules()):
        raise ValueError(
            f"{views} takes frozen stages without gates, whose shares are part of the loss and the "
            "log; take another backbone, or leave it out."
        )
    if cache.views > recipe.epochs:
        raise ValueError(
            f"{views} takes at most as many views as there are epochs, {recipe.epochs}: the others "
            "would never be seen."
        )
    if options.compile:
        raise ValueError(
            f"{views} runs the backbone from its frozen stages on, which trainer.compile=true does "
            "not compile; leave one of them out."
        )
    if options.devices > 1:
        raise ValueError(
            f"{views} takes trainer.devices=1, got {options.devices}: each process sees other "
            "images in each epoch. Leave it out."
        )
