"""What a run is made of, whatever its task."""

from dataclasses import dataclass
from typing import Any

from lightning import LightningModule

from backbones import Backbone
from tasks.common.data.data_module import ResumableDataModule
from tasks.common.data.loading import Loading
from tasks.common.data.prefix.cache import PrefixCache
from tasks.common.machine.machine import Machine
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.card import NetworkCard


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What a task assembles.

    Attributes:
        recipe: How to train.
        options: Where to train.
        where: What the options came to on this machine.
        loading: How images are loaded, and why.
        card: What the checkpoint will say of the network.
        settings: What the losses depend on, from `run_settings`.
        module: The network and its loop.
        backbone: The part of the network that has stages.
        data: Its batches.
        has_test: Whether there is a test split; without one validation is scored in its place.
    """

    recipe: Recipe
    options: TrainerOptions
    where: Machine
    loading: Loading
    card: NetworkCard
    settings: dict[str, Any]
    module: LightningModule
    backbone: Backbone
    data: ResumableDataModule
    has_test: bool

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
        raise NotImplementedError

    @property
    def cache(self) -> PrefixCache | None:
        """What the frozen stages return, if it is kept."""
        return self.data.cache
