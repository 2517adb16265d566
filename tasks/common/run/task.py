"""What a task adds to a run, what it assembles for one, and what the run comes to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from backbones import Backbone
from tasks.common.data.data_module import ResumableDataModule
from tasks.common.data.loading import Loading
from tasks.common.files.paths import existing_file
from tasks.common.report.page.blocks import Section
from tasks.common.resume.card import NetworkCard
from tasks.common.resume.checkpoints import BEST
from tasks.common.run.config import Training
from tasks.common.run.module import NetworkModule
from tasks.common.run.setup import Setup


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What a task assembles."""

    setup: Setup[Any, Any]  # recipe, options, machine
    loading: Loading  # how images are loaded, and why
    module: NetworkModule  # the network and its loop
    data: ResumableDataModule
    has_test: bool  # whether there is a test split; without one validation is scored in its place

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


PartsT = TypeVar("PartsT", bound=RunParts)


@dataclass(frozen=True, kw_only=True)
class Show(Generic[PartsT]):
    """One thing that a task prints or writes at the end, if there are scores or needs none."""

    what: str
    do: Callable[[PartsT, "Outcome"], None]
    scores: bool = False


def _no_sections(parts: RunParts, outcome: "Outcome") -> Sequence[Section]:  # noqa: ARG001
    return ()


@dataclass(frozen=True, kw_only=True)
class Task(Generic[PartsT]):
    """What a task adds to a run."""

    training: Training  # its script, with the dataclasses of its options
    card: type[NetworkCard]  # the class of its cards
    title: str  # of the banner
    monitor: str  # the metric that chooses the best checkpoint; higher is better
    score: str  # how that metric is called for people
    shown: tuple[str, ...]  # metrics to print after each epoch and to draw
    assemble: Callable[[DictConfig], PartsT]  # builds the parts of a run of a configuration
    facts: Callable[[PartsT], dict[str, str]]  # of the banner
    defaults: Mapping[str, Any]  # by group, of its own options that change the losses
    shows: tuple[Show[PartsT], ...]  # scores, and what only this task writes, in order
    truth: Callable[[PartsT], str]  # what evaluate.py takes after a checkpoint
    # Its own sections of report.html; called if there is a best checkpoint.
    sections: Callable[[PartsT, "Outcome"], Sequence[Section]] = _no_sections


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to."""

    folder: Path
    best: Path | None  # the chosen checkpoint; None if no epoch was validated
    score: float  # its validation score
    epoch: int | None  # of the checkpoint, from 1; None if it cannot be read
    val: Mapping[str, Any]  # its validation scores
    audit: str  # what was seen of the frozen and the trained tensors
    images: int  # trained on, by this process and those beside it, each as often as it was seen
    resumed: bool  # whether it went on with an earlier run
    is_first: bool  # whether this process is the one that writes and prints
    loggers: Sequence[Logger] = ()  # to which the pictures go as well

    @property
    def best_file(self) -> Path:
        """The chosen checkpoint."""
        best = self.best or self.folder / "checkpoints" / BEST
        return existing_file(best, what="best checkpoint")
