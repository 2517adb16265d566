"""``init_from``: a run that begins with a whole trained network, not with its backbone alone."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Generic

from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from backbones import Backbone
from backbones.errors import UserError
from backbones.lineage import read_from
from tasks.common.options.decision import Decision
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import build_chosen
from tasks.common.resume.card import CardT, find_checkpoint, network_state, read_trainable, task_of
from tasks.common.resume.checkpoints import BEST, LAST

_BATCH_NORMS: Final = {"batch", "frozen_batch", "sync_batch"}  # of one scale, shift and statistics

_MAY_LACK: Final = ("*.num_batches_tracked", "deep_heads.*")
"""Tensors that only training needs: counters, and heads for deep supervision."""


@dataclass(frozen=True, kw_only=True)
class Start(Generic[CardT]):
    """A trained network that a run begins with: its checkpoint, its card and its tensors."""

    path: Path
    card: CardT
    state: Mapping[str, Tensor]

    def norm(self, choice: BackboneChoice) -> Decision:
        """Return the backbone's norm: that of the network where the option is ``auto``."""
        if choice.norm != "auto":
            return Decision(choice.norm, "as configured")
        return Decision(self.card.backbone_options.norm, "that of init_from")

    def load(self, network: nn.Module, card: CardT) -> None:
        """Load the weights into a network built alike; rows of classes not learnt stay random."""
        self._check_architecture(card.architecture())
        own = network.state_dict()
        given = {key: value for key, value in self.state.items() if key in own}
        first = card.BACKGROUND
        pairs = [(k, k) for k in range(first)]
        pairs += [(i + first, j + first) for i, j in card.classes_of(self.card).pairs]
        for key in given:
            rows = next((n for pattern, n in card.CLASS_ROWS.items() if fnmatch(key, pattern)), 0)
            if rows:
                given[key] = _with_rows(own[key], given[key], rows=rows, pairs=pairs)
        faults = [*_missing(own, self.state), *_misshapen(own, given)]
        if faults:
            raise UserError(
                f"init_from={self.path} does not fit the network that it describes: "
                f"{len(faults)} tensors, such as {', '.join(faults[:3])}. Nothing was loaded."
            )
        network.load_state_dict({**own, **given})

    def _check_architecture(self, now: Mapping[str, Any]) -> None:
        before = self.card.architecture()
        differ = {key: old for key, old in before.items() if not _agree(key, now[key], old)}
        if differ:
            text = "; ".join(f"{k} is {now[k]!r}, its own {old!r}" for k, old in differ.items())
            options = " ".join(shlex.quote(_option(key, old)) for key, old in differ.items())
            raise UserError(
                f"init_from={self.path} is of another network: {text}. Nothing was loaded; use "
                f"{options}, or for the backbone alone backbone.weights={self.path}."
            )


def read_start(
    wanted: str | None, kind: type[CardT], choice: BackboneChoice
) -> Start[CardT] | None:
    """Return the network that a run begins with; None if it begins with a backbone alone."""
    if wanted is None:
        return None
    try:
        path = find_checkpoint(Path(wanted), names=(BEST, LAST))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"init_from: {error}") from error
    if (found := task_of(path)) != kind.NAMES.task:
        raise UserError(
            f"init_from={path} is of the task {found}, expected a {kind.NAMES.noun}; for its "
            f"backbone alone leave out init_from and give backbone.weights={path}."
        )
    given = [f"backbone.{name}" for name in ("weights", "conventions") if _is_given(choice, name)]
    if given:
        raise UserError(
            f"init_from={wanted} brings the weights of the whole network and what they expect of "
            f"an image, and so does {' and '.join(given)}; leave one of them out."
        )
    checkpoint, card = read_trainable(path, kind)
    return Start(path=path, card=card, state=network_state(checkpoint))


def begin_backbone(
    choice: BackboneChoice,
    start: Start[CardT] | None,
    *,
    in_channels: int,
    norm: str,
    freeze: int,
    out_features: tuple[str, ...] | None = None,
) -> Backbone:
    """Build the backbone of a run; `Start.load` loads the weights of ``start`` later."""
    if start is not None:
        choice = replace(choice, weights="random")
    backbone = build_chosen(
        choice, in_channels=in_channels, norm=norm, freeze=freeze, out_features=out_features
    )
    if start is not None:
        backbone.adopt(start.card.conventions)
        first = start.card.provenance
        backbone.provenance = f"init_from {start.path}; its backbone began with {first}"
        backbone.lineage = read_from(start.card.lineage, start.path, label=str(start.path))
    return backbone


def start_facts(start: Start[CardT] | None, card: CardT) -> dict[str, str]:
    """Return the banner's line on the network that a run begins with; ``card`` is the run's own."""
    if start is None:
        return {}
    classes = card.classes_of(start.card)
    return {"begins with": f"the whole of {start.path}; {classes}; optimiser and epochs anew"}


def _is_given(choice: BackboneChoice, name: str) -> bool:
    """Return whether an option was given; the generated data sets set the weights to ``random``."""
    if getattr(choice, name) not in (getattr(BackboneChoice, name), "random"):
        return True
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(override.lstrip("+").startswith(f"backbone.{name}=") for override in given)


def _agree(key: str, now: object, before: object) -> bool:
    return now == before or (key == "backbone.norm" and {now, before} <= _BATCH_NORMS)


def _option(key: str, value: object) -> str:
    if isinstance(value, tuple | list):
        return f"{key}=[{','.join(map(str, value))}]"
    return f"{key}={value}"


def _missing(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[str]:
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
