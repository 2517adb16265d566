"""What a run is made of, whatever its task."""

from dataclasses import dataclass
from typing import Any

from backbones import Backbone
from tasks.common.data.data_module import ResumableDataModule
from tasks.common.data.loading import Loading
from tasks.common.data.prefix.cache import PrefixCache
from tasks.common.machine.machine import Machine
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.card import NetworkCard
from tasks.common.run.module import NetworkModule
from tasks.common.run.setup import Setup


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What a task assembles.

    Attributes:
        setup: The options that all tasks have, and what they came to on this machine.
        loading: How images are loaded, and why.
        module: The network and its loop.
        data: Its batches.
        has_test: Whether there is a test split; without one validation is scored in its place.
    """

    setup: Setup[Any, Any]
    loading: Loading
    module: NetworkModule
    data: ResumableDataModule
    has_test: bool

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        return self.setup.recipe

    @property
    def options(self) -> TrainerOptions:
        """How many processes train, and for how many steps."""
        return self.setup.options

    @property
    def where(self) -> Machine:
        """Device, precision and threads."""
        return self.setup.where

    @property
    def card(self) -> NetworkCard:
        """What the checkpoint will say of the network."""
        return self.module.card

    @property
    def backbone(self) -> Backbone:
        """The part of the network that has stages."""
        return self.module.backbone

    @property
    def scored(self) -> str:
        """The split that the best checkpoint is tested on: ``test``, or ``val`` without one."""
        return "test" if self.has_test else "val"

    @property
    def heading(self) -> str:
        """The line above the scores that a run ends with."""
        split = self.scored if self.has_test else "val (there is no test split)"
        return f"Scores of the best checkpoint on {split}"

    @property
    def scores(self) -> dict[str, Any]:
        """Of `scored`; empty until it has been tested."""
        return self.module.scores.get("test", {})

    @property
    def cache(self) -> PrefixCache | None:
        """What the frozen stages return, if it is kept."""
        return self.data.cache
