"""Which runs can have a feature cache."""

from typing import Final

from backbones import Backbone
from backbones.errors import UserError
from backbones.layers.gate import Gate
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe

FEWEST: Final = 3  # frozen stages; below that the prefix is cheap, and what it returns is large


def check_feature_cache(
    cache: CacheOptions, backbone: Backbone, *, recipe: Recipe, options: TrainerOptions
) -> None:
    """Raise if a cache cannot give what the run would compute."""
    frozen = [m for stage in backbone.stages()[: backbone.frozen] for m in stage]
    gated = any(isinstance(module, Gate) for stage in frozen for module in stage.modules())
    reasons = [
        (
            backbone.frozen < FEWEST,
            f"takes at least {FEWEST} frozen stages, and {backbone.frozen} are frozen: add "
            f"backbone.freeze={FEWEST} or more",
        ),
        (
            recipe.thaws,
            "takes stages that stay frozen: leave out recipe.unfreeze and recipe.frozen_until",
        ),
        (
            gated,
            "takes frozen stages without gates, whose shares are part of the loss and the log; "
            "take another backbone",
        ),
        (
            cache.views > recipe.epochs,
            f"takes at most as many views as there are epochs, {recipe.epochs}: the others would "
            "never be seen; take fewer",
        ),
        (
            options.compile,
            "runs the backbone from its frozen stages on, which trainer.compile=true does not "
            "compile; leave out trainer.compile",
        ),
        (
            options.devices > 1,
            f"takes trainer.devices=1, got {options.devices}: each process sees other images in "
            "each epoch; take one",
        ),
    ]
    for holds, why in reasons:
        if holds:
            raise UserError(
                f"feature_cache.views={cache.views} {why}, or leave out feature_cache.views."
            )
