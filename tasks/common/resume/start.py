"""``init_from``: a run that begins with a whole trained network, not with its backbone alone."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from backbones import Backbone, Conventions
from tasks.common.options.decision import Decision
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.card import (
    TASKS,
    NetworkCard,
    find_checkpoint,
    network_state,
    read_card,
    task_of,
)
from tasks.common.resume.checkpoints import BEST, LAST

_BATCH_NORMS: Final = {"batch", "frozen_batch", "sync_batch"}
"""Norms that have the same scale, shift and statistics."""

_MAY_LACK: Final = ("*.num_batches_tracked", "deep_heads.*")
"""What only training has: counters, and heads for deep supervision."""


CardT = TypeVar("CardT", bound=NetworkCard)


@dataclass(frozen=True, kw_only=True)
class Start(Generic[CardT]):
    """A trained network that a run begins with.

    Attributes:
        path: Its checkpoint.
        card: What it says of itself.
        state: Its tensors by the network's names.
    """

    path: Path
    card: CardT
    state: Mapping[str, Tensor]

    def norm(self, choice: BackboneChoice) -> Decision:
        """Return the backbone's norm: the network's, unless it is told."""
        if choice.norm == "auto":
            return Decision(value=self.card.norm, reason="that of init_from")
        return Decision(value=choice.norm, reason="as told")

    def choice(self, choice: BackboneChoice) -> BackboneChoice:
        """Return the backbone's options with the network as its weights."""
        return replace(choice, weights=str(self.path))

    def adopted(self, backbone: Backbone) -> Backbone:
        """Return the backbone with what the network expects of an image, and where it is from."""
        card = self.card
        backbone.adopt(Conventions(mean=card.mean, std=card.std, epsilon=card.epsilon))
        backbone.provenance = f"init_from {self.path}; its backbone began with {card.provenance}"
        return backbone


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Which classes of a run a network has learnt already, by name.

    Attributes:
        kept: Of the run's classes, those that the network has.
        fresh: Those that it has not, whose last layer is drawn anew.
        left: The network's own that the run does not have.
        pairs: Of each class in ``kept``: its index in the run and in the network.
    """

    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    left: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """Return what a banner says of them."""
        parts = (("kept", self.kept), ("drawn anew", self.fresh), ("left out", self.left))
        return "classes " + "; ".join(f"{what}: {', '.join(n)}" for what, n in parts if n)


def matched(run: Sequence[str], network: Sequence[str]) -> Classes:
    """Return which classes agree, by their exact names.

    Args:
        run: Names of the run's classes.
        network: Names of the trained network's.
    """
    pairs = tuple((i, network.index(name)) for i, name in enumerate(run) if name in network)
    return Classes(
        kept=tuple(run[i] for i, _ in pairs),
        fresh=tuple(name for name in run if name not in network),
        left=tuple(name for name in network if name not in run),
        pairs=pairs,
    )


def read_start(
    wanted: str | None,
    parse: Callable[[Mapping[str, Any]], CardT],
    choice: BackboneChoice,
    *,
    task: str,
) -> Start[CardT] | None:
    """Return the network that a run begins with; None if it begins with a backbone alone.

    Args:
        wanted: ``init_from`` of the configuration.
        parse: As in `read_card`.
        choice: The backbone's options, whose weights and conventions have to be left out.
        task: A key of `tasks.common.resume.card.TASKS`.

    Raises:
        ValueError: If weights of the backbone were asked for as well, or the file is damaged or of
            another task.
        FileNotFoundError: If there is no such file.
    """
    if wanted is None:
        return None
    try:
        path = find_checkpoint(Path(wanted), names=(BEST, LAST))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"init_from: {error}") from error
    if (found := task_of(path)) != task:
        raise ValueError(
            f"init_from={path} is a {TASKS[found].noun}, expected a {TASKS[task].noun}; for its "
            f"backbone alone leave out init_from and give backbone.weights={path}."
        )
    asked = [f"backbone.{name}" for name in ("weights", "conventions") if _is_asked(choice, name)]
    if asked:
        raise ValueError(
            f"init_from={wanted} brings the weights of the whole network and what they expect of "
            f"an image, and so does {' and '.join(asked)}; leave one of them out."
        )
    checkpoint, card = read_card(path, parse, task=task)
    return Start(path=path, card=card, state=network_state(checkpoint))


def _is_asked(choice: BackboneChoice, name: str) -> bool:
    """Return whether an option was given; data of our own leave the weights ``random``."""
    if getattr(choice, name) not in (getattr(BackboneChoice, name), "random"):
        return True
    told = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(override.lstrip("+").startswith(f"backbone.{name}=") for override in told)


def check_same(start: Start[Any], now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise unless the run's network is built as the trained one.

    Args:
        start: The trained network.
        now: What decides how the run's network is built, by option.
        before: The same of the trained one.

    Raises:
        ValueError: If they differ; with every option that differs, and how to set it.
    """
    differ = {key: value for key, value in before.items() if not _agree(key, now[key], value)}
    if differ:
        text = "; ".join(f"{key} is {now[key]!r}, its own {old!r}" for key, old in differ.items())
        options = " ".join(shlex.quote(_option(key, old)) for key, old in differ.items())
        raise ValueError(
            f"init_from={start.path} is of another network: {text}. Nothing was loaded; use "
            f"{options}, or for the backbone alone backbone.weights={start.path}."
        )


def architecture(card: NetworkCard) -> dict[str, Any]:
    """Return what decides how a backbone is built, by option, for `check_same`."""
    return {
        "backbone": card.backbone,
        "backbone.norm": card.norm,
        "backbone.in_channels": card.in_channels,
        "backbone.output_stride": card.output_stride,
        "backbone.deformable": tuple(card.deformable),
        "backbone.deformable_version": card.deformable_version,
    }


def _agree(key: str, now: object, before: object) -> bool:
    return now == before or (key == "backbone.norm" and {now, before} <= _BATCH_NORMS)


def _option(key: str, value: object) -> str:
    if isinstance(value, tuple | list):
        return f"{key}=[{','.join(map(str, value))}]"
    return f"{key}={value}"


def load_start(
    network: nn.Module,
    start: Start[Any],
    *,
    heads: Mapping[str, int],
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Load a trained network into one of the same build, whose classes may be others.

    Args:
        network: Changed in place; the rows of classes that do not agree stay as they were drawn.
        start: The trained network.
        heads: Patterns of the tensors that have rows per class, and how many rows a class has.
        pairs: Of each class that agrees, its place in ``network`` and in ``start``.

    Raises:
        ValueError: If the checkpoint lacks a tensor or has one of another shape.
    """
    own = network.state_dict()
    given = {key: value for key, value in start.state.items() if key in own}
    for key in given:
        rows = next((n for pattern, n in heads.items() if fnmatch(key, pattern)), 0)
        if rows:
            given[key] = _with_rows(own[key], given[key], rows=rows, pairs=pairs)
    faults = [*_lacking(own, start.state), *_misshapen(own, given)]
    if faults:
        raise ValueError(
            f"init_from={start.path} does not fit the network that it describes: "
            f"{len(faults)} tensors, such as {', '.join(faults[:3])}. Nothing was loaded."
        )
    network.load_state_dict({**own, **given})


def _lacking(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[str]:
    for key in own.keys() ^ state.keys():
        if not any(fnmatch(key, pattern) for pattern in _MAY_LACK):
            yield key


def _misshapen(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    for key, value in given.items():
        if value.shape != own[key].shape:
            yield f"{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}"


def _with_rows(
    own: Tensor, other: Tensor, *, rows: int, pairs: Sequence[tuple[int, int]]
) -> Tensor:
    """Return a layer with the rows of the classes that agree: ``rows`` of each."""
    if own.shape[1:] != other.shape[1:]:
        return other  # refused with every other shape that does not fit
    mixed = own.clone()
    for mine, theirs in pairs:
        there = other[theirs * rows : (theirs + 1) * rows]
        mixed[mine * rows : (mine + 1) * rows] = there.to(mixed)
    return mixed


def start_facts(
    start: Start[CardT] | None, *, of: Callable[[Start[CardT], CardT], Classes], card: CardT
) -> dict[str, str]:
    """Return what a banner says of the network that a run begins with.

    Args:
        start: The network, if there is one.
        of: Returns which classes agree.
        card: Of the run's own network.
    """
    if start is None:
        return {}
    return {
        "begins with": f"the whole of {start.path}; {of(start, card)}; optimiser and epochs anew"
    }


def without_weights(choice: BackboneChoice) -> BackboneChoice:
    """Return the choice for a backbone whose weights come with the whole network."""
    return replace(choice, weights="random")
