"""The options of the prefix cache, and the runs that can have one."""

from dataclasses import dataclass
from typing import Final

import torch

from backbones import Backbone
from backbones.choose import choose
from backbones.layers.gate import Gate
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe

FEWEST: Final = 3
"""Frozen stages; below that the prefix is cheap, and what it returns is large."""

DTYPES: Final = {"auto": None, "bf16": torch.bfloat16, "fp16": torch.float16}
PLACES: Final = ("memory", "disk", "none")


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """The ``cache`` group of the configuration.

    Attributes:
        views: How many augmented views of each training image are drawn in advance; epoch e sees
            view e % views. 0 for no cache: every epoch draws new ones.
        where: ``memory``; ``disk``, where a later run with the same prefix, data and augmentation
            finds it again; or ``none``, which keeps nothing and computes the same every time.
        folder: For ``disk``; each prefix, data set and augmentation has a folder of its own in it.
        dtype: What is kept: ``auto`` as it was computed, so that nothing is lost, or rounded to
            ``bf16`` or ``fp16``, which moves the losses of a float32 run by that rounding.
    """

    views: int = 0
    where: str = "memory"
    folder: str = "cache"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what is unknown."""
        if not isinstance(self.views, int) or self.views < 0:
            raise ValueError(f"cache.views takes an integer from 0, got {self.views!r}.")
        choose(dict.fromkeys(PLACES), self.where, what="place of the cache")
        choose(DTYPES, self.dtype, what="dtype of the cache")

    def decides(self) -> dict[str, int | str]:
        """Return what decides the losses: not where it is kept."""
        return {"views": self.views, "dtype": self.dtype if self.views else "auto"}


def check_prefix(
    cache: CacheOptions, backbone: Backbone, *, recipe: Recipe, options: TrainerOptions
) -> None:
    """Raise if a cache cannot give what the run would compute.

    Args:
        cache: With at least one view.
        backbone: As it will be trained.
        recipe: Of the run.
        options: Of the run.

    Raises:
        ValueError: If too few stages are frozen, not always as many, they have gates, there are
            more views than epochs, or several processes train.
    """
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
