"""The card of a network, which every checkpoint of Keel holds beside the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar

from torch import Tensor, nn

from backbones import Backbone, BackboneOptions, Conventions, build_backbone, fuse
from backbones.errors import UserError
from backbones.fusion import FUSED, fused_error
from backbones.lineage import Lineage, lineage_of
from backbones.weights.card import FORMAT, check_card
from tasks.common.options.limits import with_tuples
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.checkpoints import BEST
from tasks.common.resume.checkpoints import find_checkpoint as find_checkpoint  # offered here too
from tasks.common.resume.trained_file import read_trained

_NEEDED: Final = ("format", "backbone", "norm", "mean", "std", "epsilon")
"""The fields that cards of all versions have."""

_ONLY_IN_TRAINING: Final = ("out_features", "drop_path", "init")
"""Options of a backbone that change no tensor's shape or meaning: a card leaves them out."""

CardT = TypeVar("CardT", bound="NetworkCard")


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Which classes of a run a trained network has learnt."""

    kept: tuple[str, ...]  # the run's classes that the network has
    fresh: tuple[str, ...]  # those that it lacks; their rows of the last layer are random
    left: tuple[str, ...]  # the network's classes that the run lacks
    pairs: tuple[tuple[int, int], ...]  # of ``kept``: indices in run and network

    def __str__(self) -> str:
        """Return the text for the banner."""
        parts = (("kept", self.kept), ("drawn anew", self.fresh), ("left out", self.left))
        return "classes " + "; ".join(f"{what}: {', '.join(n)}" for what, n in parts if n)


def matched(run: Sequence[str], network: Sequence[str]) -> Classes:
    """Return which classes of a run and of a trained network have the same names."""
    pairs = tuple((i, network.index(name)) for i, name in enumerate(run) if name in network)
    return Classes(
        kept=tuple(run[i] for i, _ in pairs),
        fresh=tuple(name for name in run if name not in network),
        left=tuple(name for name in network if name not in run),
        pairs=pairs,
    )


@dataclass(frozen=True, kw_only=True)
class TaskNames:
    """How messages name a task."""

    task: str  # the name of its package in `tasks`, which checkpoints hold
    noun: str  # what its network is called
    script: str  # the script that trains it
    runs: str  # the folder of its runs

    @property
    def example(self) -> str:
        """Where one of its checkpoints comes from, and its path."""
        return f"{self.script} writes, such as {self.runs}/<run>/checkpoints/{BEST}"


@dataclass(frozen=True, kw_only=True)
class NetworkCard:
    """What a checkpoint says of its network; each task adds fields."""

    NAMES: ClassVar[TaskNames]
    CLASS_ROWS: ClassVar[Mapping[str, int]]
    """Patterns of the tensors that have rows per class, and how many rows a class has."""
    BACKGROUND: ClassVar[int] = 0  # how many outputs come before those of the first class

    backbone: str  # its registered name
    backbone_options: BackboneOptions  # how it was built
    # the preprocessing of the network's input, and the epsilon of the batch norms
    conventions: Conventions
    provenance: str  # where the backbone's first weights came from
    lineage: Lineage = ()  # what the backbone's weights went through, this run included

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return self.backbone_options.in_channels

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, in the order of the network's outputs."""
        raise NotImplementedError

    @property
    def images_text(self) -> str:
        """A sentence on the images that the network takes, for people."""
        return f"Images of {self.in_channels} channel{'s' * (self.in_channels > 1)}."

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values that ``weights_only`` admits, nested fields beside others."""
        fields = asdict(self)
        del fields["backbone_options"]
        inner = self.structure() | fields.pop("conventions")
        return {"task": self.NAMES.task, "format": FORMAT, **plain(fields | inner)}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Return the card of which `to_dict` made these values, in this or an earlier version."""
        raise NotImplementedError

    def architecture(self) -> dict[str, Any]:
        """Return what decides how the network is built, by option of the configuration."""
        structure = {f"backbone.{name}": value for name, value in self.structure().items()}
        return {"backbone": self.backbone, **structure}

    def classes_of(self, trained: Self) -> Classes:
        """Return which classes of this network a trained one has learnt."""
        return matched(self.class_names, trained.class_names)

    def new_backbone(self, out_features: Sequence[str] | None = None) -> Backbone:
        """Return the backbone with random weights, which returns ``out_features``."""
        structure = self.structure()
        backbone = build_backbone(
            self.backbone, weights="random", out_features=out_features, **structure
        )
        return backbone.adopt(self.conventions)

    def build(self) -> nn.Module:
        """Return the network with random weights."""
        raise NotImplementedError

    def structure(self) -> dict[str, Any]:
        """Return the backbone's options that decide the shape and the meaning of its tensors."""
        options = asdict(self.backbone_options).items()
        return {name: value for name, value in options if name not in _ONLY_IN_TRAINING}


def structure_of(choice: BackboneChoice, *, in_channels: int, norm: str) -> BackboneOptions:
    """Return how the backbone of a run is built, for its card."""
    known = BackboneOptions(in_channels=in_channels, norm=norm)
    left = asdict(known).keys() - {"in_channels", "norm", *_ONLY_IN_TRAINING}
    return replace(known, **{name: getattr(choice, name) for name in left})


def card_values(card: Mapping[str, Any], *, in_channels: int) -> dict[str, Any]:
    """Return the fields of a card from plain values; what an older card lacks has defaults."""
    values = with_tuples({k: v for k, v in card.items() if k not in ("task", "format")})
    options = {name: values.pop(name) for name in asdict(BackboneOptions()) if name in values}
    conventions = {name: values.pop(name) for name in asdict(Conventions())}
    if len(conventions["mean"]) != in_channels:
        raise UserError(f"mean is {conventions['mean']}, expected {in_channels} numbers")
    return {
        **values,
        "lineage": lineage_of(values.get("lineage", ())),
        "backbone_options": BackboneOptions(
            **options | {"norm": options["norm"], "in_channels": in_channels}
        ),
        "conventions": Conventions(**conventions),
    }


def nested(card: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a card's field that has fields of its own, with tuples for lists."""
    if not isinstance(card[name], Mapping):
        raise UserError(f"{name} is {card[name]!r}, expected fields and their values")
    return with_tuples(card[name])


def task_of(path: Path) -> str:
    """Return the name of the task that a checkpoint is of."""
    return _task_in(read_trained(path), path, noun="run", example="a training script writes")


def _task_in(checkpoint: Mapping[str, Any], path: Path, *, noun: str, example: str) -> str:
    card = checkpoint.get("keel")
    if not isinstance(card, Mapping) or not isinstance(card.get("task"), str):
        raise UserError(
            f"{path} is no checkpoint of a Keel {noun}: it has the keys "
            f"{sorted(map(str, checkpoint))[:6]}. Give one that {example}."
        )
    return str(card["task"])


def read_card(path: Path, kind: type[CardT]) -> tuple[dict[str, Any], CardT]:
    """Return a checkpoint and its card."""
    checkpoint, names = read_trained(path), kind.NAMES
    found = _task_in(checkpoint, path, noun=names.noun, example=names.example)
    if found != names.task:
        raise UserError(
            f"{path} is a checkpoint of the task {found}; expected that of a {names.noun}, which "
            f"{names.example}."
        )
    card = checkpoint["keel"]
    check_card(card, of=str(path), needed=_NEEDED)
    try:
        return checkpoint, kind.from_dict(card)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} describes its {names.noun} in a way that this version of Keel does not know "
            f"({error}); use the version that wrote it."
        ) from error


def read_trainable(path: Path, kind: type[CardT]) -> tuple[dict[str, Any], CardT]:
    """Return a checkpoint that training can begin with or go on from, and its card."""
    checkpoint, card = read_card(path, kind)
    if checkpoint.get(FUSED):
        raise fused_error(str(path))
    return checkpoint, card


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a Lightning checkpoint's ``network``, by the network's own names."""
    state = checkpoint.get("state_dict", {})
    return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}


def built(card: NetworkCard, checkpoint: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a task's own)
    """Return the network of a card with random weights, fused if the checkpoint's is."""
    network = card.build()
    return fuse(network, other_norms="keep") if checkpoint.get(FUSED) else network


def load_network(
    network: nn.Module, checkpoint: Mapping[str, Any], card: NetworkCard, *, path: Path
) -> None:
    """Load the weights of a Lightning checkpoint into the network of its card."""
    try:
        network.load_state_dict(network_state(checkpoint))
    except RuntimeError as error:
        noun = card.NAMES.noun
        raise UserError(f"{path} lacks weights of the {noun} it describes: {error}") from error


def plain(value: Any) -> Any:  # noqa: ANN401 (JSON values)
    """Return a value with lists for tuples, at every depth."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
