"""What every checkpoint of ours holds beside its weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from torch import Tensor, nn

from backbones.choose import choose
from backbones.weights.read import read_checkpoint
from tasks.common.files.paths import contents, listed
from tasks.common.resume.checkpoints import BEST

_FORMAT: Final = 1


class Card(Protocol):
    """What a checkpoint says of its network, in plain values."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `card_dict` makes of the card."""


class NetworkCard(Card, Protocol):
    """What the cards of all tasks say of a backbone."""

    @property
    def backbone(self) -> str:
        """Its registered name."""

    @property
    def norm(self) -> str:
        """The backbone's norm."""

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the preprocessing, per channel."""

    @property
    def std(self) -> tuple[float, ...]:
        """Of the preprocessing, per channel."""

    @property
    def epsilon(self) -> float:
        """Of the backbone's batch norms."""

    @property
    def provenance(self) -> str:
        """Where the backbone's first weights came from."""

    @property
    def output_stride(self) -> int:
        """The backbone's."""

    @property
    def deformable(self) -> tuple[str, ...]:
        """The backbone's stages with deformable convolutions."""

    @property
    def deformable_version(self) -> int:
        """Of these, 1 or 2."""


CardT = TypeVar("CardT", bound=Card)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How messages speak of a task.

    Attributes:
        noun: What its network is called.
        script: What trains it.
        runs: Where its runs lie.
    """

    noun: str
    script: str
    runs: str


TASKS: Final = {
    "detection": Wording(noun="detector", script="scripts/train_det.py", runs="runs/detection"),
    "segmentation": Wording(
        noun="segmenter", script="scripts/train_seg.py", runs="runs/segmentation"
    ),
}


def card_dict(card: Any, *, task: str) -> dict[str, Any]:  # noqa: ANN401 (any dataclass)
    """Return a card as what ``weights_only`` admits: lists, dictionaries, numbers and strings.

    Args:
        card: A dataclass.
        task: A key of `TASKS`.
    """
    return {"task": task, "format": _FORMAT, **{k: plain(v) for k, v in asdict(card).items()}}


def card_values(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the dataclass of which `card_dict` made a card; lists are tuples."""
    fields = {key: value for key, value in card.items() if key not in ("task", "format")}
    return with_tuples(fields)


def find_checkpoint(wanted: Path, *, names: Sequence[str] = (BEST,)) -> Path:
    """Return the checkpoint that a path stands for: itself, or the best one of a run.

    Args:
        wanted: A checkpoint, or the folder of a run, or its folder of checkpoints.
        names: What a run folder's checkpoint may be called; the first that is there is taken.

    Raises:
        FileNotFoundError: If there is nothing of the name, or no such checkpoint in the folder.
    """
    if not wanted.exists():
        raise FileNotFoundError(f"no checkpoint or run folder {str(wanted)!r}. {contents(wanted)}")
    if not wanted.is_dir():
        return wanted
    for folder in (wanted / "checkpoints", wanted):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    runs = sorted(best.parents[1].name for best in wanted.glob(f"*/checkpoints/{BEST}"))
    others = sorted(wanted.glob("**/*.ckpt")) if not runs else []
    more = f"; it holds the runs {listed(runs)}" if runs else ""
    more += f"; there is {listed([str(other) for other in others])}" if others else ""
    raise FileNotFoundError(
        f"{wanted} is no run folder with checkpoints/{' or '.join(names)}{more}. Give a checkpoint "
        f"or the folder of one run. {contents(wanted)}"
    )


def task_of(path: Path) -> str:
    """Return the task of a checkpoint, a key of `TASKS`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or no checkpoint of ours.
    """
    checkpoint = read_checkpoint(path)
    card = checkpoint.get("keel")
    if not isinstance(card, Mapping) or card.get("task") not in TASKS:
        raise ValueError(
            f"{path} is no checkpoint of a Keel run: it has the keys "
            f"{sorted(map(str, checkpoint))[:6]}. Give one that scripts/train_det.py or "
            "scripts/train_seg.py wrote."
        )
    return str(card["task"])


def read_card(
    path: Path, parse: Callable[[Mapping[str, Any]], CardT], *, task: str
) -> tuple[dict[str, Any], CardT]:
    """Return a checkpoint and its card.

    Args:
        path: The file.
        parse: Makes a card of what `card_dict` made of one.
        task: A key of `TASKS`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, is of another task or of another version of Keel.
    """
    checkpoint = read_checkpoint(path)
    card = checkpoint.get("keel")
    told = choose(TASKS, task, what="task")
    if isinstance(card, Mapping) and card.get("task") in set(TASKS) - {task}:
        other = TASKS[str(card["task"])]
        raise ValueError(
            f"{path} is the checkpoint of a {other.noun}; expected that of a {told.noun}, which "
            f"{told.script} writes, such as {told.runs}/<run>/checkpoints/best.ckpt."
        )
    if not isinstance(card, Mapping) or card.get("task") != task:
        raise ValueError(
            f"{path} is no checkpoint of a Keel {told.noun}: it has the keys "
            f"{sorted(map(str, checkpoint))[:6]}. Give one that {told.script} wrote, such "
            f"as {told.runs}/<run>/checkpoints/best.ckpt."
        )
    if card.get("format") != _FORMAT:
        raise ValueError(
            f"{path} has the format {card.get('format')!r}, this version of Keel reads {_FORMAT}; "
            "use the version that wrote it."
        )
    try:
        return checkpoint, parse(card)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} describes its {told.noun} in a way that this version of Keel does not know "
            f"({error}); use the version that wrote it."
        ) from error


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a Lightning checkpoint's ``network``, by the network's own names."""
    state = checkpoint.get("state_dict", {})
    return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}


def load_network(network: nn.Module, checkpoint: Mapping[str, Any], *, path: Path) -> None:
    """Load the weights of a Lightning checkpoint whose module calls its network ``network``.

    Raises:
        ValueError: If they are not those of the network.
    """
    try:
        network.load_state_dict(network_state(checkpoint))
    except RuntimeError as error:
        noun = TASKS[checkpoint["keel"]["task"]].noun
        raise ValueError(f"{path} lacks weights of the {noun} it describes: {error}") from error


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples for lists, as the dataclasses have them."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def plain(value: Any) -> Any:  # noqa: ANN401 (JSON values)
    """Return a value with lists for tuples, all the way down."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
