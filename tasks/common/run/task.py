"""What a task adds to a run, and what a run comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig

from tasks.common.files.paths import existing_file
from tasks.common.resume.card import NetworkCard
from tasks.common.resume.checkpoints import BEST
from tasks.common.run.parts import RunParts

PartsT = TypeVar("PartsT", bound=RunParts)


@dataclass(frozen=True, kw_only=True)
class Show(Generic[PartsT]):
    """One thing that a task prints or writes at the end of a run, each by itself.

    Attributes:
        what: Its name in messages.
        do: Prints or writes it.
        scores: Whether it needs the scores of the best checkpoint.
    """

    what: str
    do: Callable[[PartsT, "Outcome"], None]
    scores: bool = False


@dataclass(frozen=True, kw_only=True)
class Task(Generic[PartsT]):
    """What a task adds to a run.

    Attributes:
        card: The class of its cards.
        title: Of the banner.
        monitor: The metric that chooses the best checkpoint; higher is better.
        shown: Metrics to print after each epoch and to draw.
        assemble: Builds the parts of a run of a configuration.
        facts: Of the banner.
        defaults: Defaults by group of the task's own options on which the losses depend.
        shows: The scores of the best checkpoint, and what only this task writes, in order.
        truth: Returns what ``scripts/evaluate.py`` takes after a checkpoint to score it on the
            split that a run ends with.
    """

    card: type[NetworkCard]
    title: str
    monitor: str
    shown: tuple[str, ...]
    assemble: Callable[[DictConfig], PartsT]
    facts: Callable[[PartsT], dict[str, str]]
    defaults: Mapping[str, Any]
    shows: tuple[Show[PartsT], ...]
    truth: Callable[[PartsT], str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Of the run.
        best: The chosen checkpoint; None if no epoch was validated.
        score: Its validation score.
        epoch: Of the checkpoint, from 1; None if it cannot be read.
        val: Its validation scores.
        audit: What was seen of the frozen and the trained tensors.
        seconds: Since the run began.
        is_first: Whether this process is the one that writes and prints.
    """

    folder: Path
    best: Path | None
    score: float
    epoch: int | None
    val: Mapping[str, Any]
    audit: str
    seconds: float
    is_first: bool

    @property
    def best_file(self) -> Path:
        """The chosen checkpoint."""
        return existing_file(
            self.best or self.folder / "checkpoints" / BEST, what="best checkpoint"
        )
