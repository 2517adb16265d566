"""A detector's checkpoint: it carries its architecture, its classes and its preprocessing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from torchvision.models.detection import FasterRCNN

from backbones import Conventions, build_backbone
from backbones.files import read_checkpoint
from tasks.detection.model import DetectorOptions, build_detector

_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class DetectorCard:
    """What a checkpoint says of its detector, in plain values.

    Attributes:
        backbone: Its registered name.
        norm: The backbone's norm.
        in_channels: Channels of the image: 3 is RGB, 1 is gray.
        options: The rest of the architecture.
        classes: Names of the K classes, label 1 first.
        category_ids: The training data's own id of each class.
        mean: Of the preprocessing, per channel, for images in [0, 1].
        std: Of the preprocessing, per channel, for images in [0, 1].
        epsilon: Of the backbone's batch norms.
        provenance: Where the backbone's first weights came from.
    """

    backbone: str
    norm: str
    in_channels: int
    options: DetectorOptions
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epsilon: float
    provenance: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, dictionaries, numbers and strings: what ``weights_only`` admits."""
        plain = {key: _plain(value) for key, value in asdict(self).items()}
        return {"task": "detection", "format": _FORMAT, **plain}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Return the card that `to_dict` wrote."""
        values = {key: value for key, value in card.items() if key not in ("task", "format")}
        options = DetectorOptions(**_with_tuples(values["options"]))
        return cls(**_with_tuples(values) | {"options": options})

    def build(self) -> FasterRCNN:
        """Return the detector with random weights."""
        backbone = build_backbone(
            self.backbone,
            weights="random",
            in_channels=self.in_channels,
            norm=self.norm,
            out_features=self.options.features,
        )
        backbone.adopt(Conventions(mean=self.mean, std=self.std, epsilon=self.epsilon))
        return build_detector(backbone, num_classes=len(self.classes), options=self.options)


def load_detector(path: Path) -> tuple[FasterRCNN, DetectorCard]:
    """Return the detector of a checkpoint, in eval mode, and its card.

    Args:
        path: A checkpoint of ``scripts/train_det.py``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or is no detector's checkpoint.
    """
    checkpoint, described = _read(path)
    detector = described.build()
    state = checkpoint.get("state_dict", {})
    try:
        detector.load_state_dict({k.removeprefix("network."): v for k, v in state.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} lacks weights of the detector it describes: {error}") from error
    return detector.eval(), described


def check_resume(path: Path, card: DetectorCard, *, run: Mapping[str, Any]) -> None:
    """Raise unless a checkpoint is of the same run as the one that is to go on from it.

    Args:
        path: The checkpoint.
        card: Of the detector that was built for the run.
        run: What else decides how a run goes on, as `DetectionModule` saves it: its recipe, seed
            and number of frozen stages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, is of another detector, of other classes or of another
            recipe, or leaves nothing to train.
    """
    checkpoint, described = _read(path)
    keys = ("classes", "category_ids", "backbone", "norm", "in_channels", "options")
    now, saved = card.to_dict(), described.to_dict()
    pairs = {key: (now[key], saved[key]) for key in keys}
    before = checkpoint.get("keel_run", {})
    pairs |= {key: (_plain(value), before.get(key)) for key, value in run.items()}
    differ = [
        f"{key} is {a!r}, the checkpoint's is {b!r}" for key, (a, b) in pairs.items() if a != b
    ]
    if differ:
        raise ValueError(
            f"cannot resume from {path}: {'; '.join(differ)}. Use the command of that run; to "
            "train on in another way start a new run with backbone.weights set to the checkpoint."
        )
    # One is saved within the last validation, before Lightning counts the epoch as completed.
    done: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if done >= run["recipe"]["epochs"]:
        raise ValueError(
            f"{path} has {done} of {run['recipe']['epochs']} epochs behind it: nothing is left to "
            "train. Score it with scripts/evaluate.py, or start a new run with backbone.weights "
            "set to it."
        )


def _read(path: Path) -> tuple[dict[str, Any], DetectorCard]:
    checkpoint = read_checkpoint(path)
    card = checkpoint.get("keel")
    if not isinstance(card, Mapping) or card.get("task") != "detection":
        raise ValueError(
            f"{path} is no checkpoint of a Keel detector: it has the keys "
            f"{sorted(map(str, checkpoint))[:6]}. Give one that scripts/train_det.py wrote, such "
            "as runs/detection/<run>/checkpoints/best.ckpt."
        )
    if card.get("format") != _FORMAT:
        raise ValueError(
            f"{path} has the format {card.get('format')!r}, this version of Keel reads {_FORMAT}; "
            "use the version that wrote it."
        )
    try:
        return checkpoint, DetectorCard.from_dict(card)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} describes its detector in a way that this version of Keel does not know "
            f"({error}); use the version that wrote it."
        ) from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 (JSON values)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
