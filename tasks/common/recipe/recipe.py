"""The recipe of a run as data: how to train, whatever the task and the architecture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from backbones.choose import choose
from tasks.common.recipe.stages import STAGES

OPTIMIZERS: Final = ("sgd", "adamw")

_COUNTS: Final = {
    "epochs": 1,
    "batch_size": 1,
    "accumulate": 1,
    "lr_images": 1,
    "frozen_until": 0,
    "restarts": 0,
}
_NOT_NEGATIVE: Final = (
    "lr",
    "backbone_lr_factor",
    "weight_decay",
    "warmup",
    "final_lr_factor",
    "clip",
    "gate_weight",
)
_BELOW_ONE: Final = ("momentum", "ema", "label_smoothing")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, whatever the task and the architecture.

    What trains in which epoch is a pure function of it:
    `tasks.common.recipe.unfreeze.frozen_stages`.

    Attributes:
        epochs: How often each image is seen.
        batch_size: Images per step on one device.
        accumulate: Steps whose gradients are added up before the weights move.
        optimizer: ``sgd`` with Nesterov-free momentum, or ``adamw``.
        lr: Learning rate of a step over ``lr_images`` images; scaled linearly with the effective
            batch (Goyal et al., arXiv:1706.02677).
        lr_images: The effective batch that ``lr`` is meant for.
        backbone_lr_factor: The learning rate of the backbone's last stage over that of the rest.
        lr_decay: The learning rate of each stage over that of the next, down to the stem; 1 gives
            all stages the same (Clark et al., arXiv:2003.10555, section 3.1).
        momentum: Of SGD; AdamW's first beta.
        weight_decay: Of weights; norms and biases have none.
        warmup: Steps over which the learning rate rises from 0, linearly.
        final_lr_factor: The last learning rate over the highest, at the end of the cosine.
        restarts: How often the cosine starts again from the highest learning rate, at even
            distances (Loshchilov and Hutter, arXiv:1608.03983).
        clip: Gradients are scaled down to this norm; 0 leaves them.
        frozen_until: How many epochs the whole backbone is frozen for, before what
            ``backbone.freeze`` leaves free begins to train.
        unfreeze: After how many epochs a stage that ``backbone.freeze`` froze begins to train, by
            name, the last stage first (Howard and Ruder, arXiv:1801.06146, section 3.3).
        ema: Decay of the moving average of the weights that is validated and kept; 0 for none.
            See `tasks.common.recipe.ema`.
        label_smoothing: Share of the truth that cross entropy spreads evenly over all classes: of
            the box classifier, or of the pixels; from 0 to below 1.
        gate_target: Of a backbone with gates, the share of its residuals that is to count, from 0
            to 1; None leaves that to the task's loss.
        gate_weight: Of the penalty for missing it, in the loss.
    """

    epochs: int = 12
    batch_size: int = 4
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float = 0.02
    lr_images: int = 16
    backbone_lr_factor: float = 1.0
    lr_decay: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: int = 100
    final_lr_factor: float = 0.0
    restarts: int = 0
    clip: float = 0.0
    frozen_until: int = 0
    unfreeze: dict[str, int] = field(default_factory=dict)
    ema: float = 0.0
    label_smoothing: float = 0.0
    gate_target: float | None = None
    gate_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot train, and strings where numbers belong."""
        for name, least in _COUNTS.items():
            if not _is_count(value := getattr(self, name)) or value < least:
                raise ValueError(
                    f"recipe.{name} takes an integer of at least {least}, got {value!r}."
                )
        for name in (*_NOT_NEGATIVE, *_BELOW_ONE):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"recipe.{name} takes a number of at least 0, got {value!r}.")
            if name in _BELOW_ONE and value >= 1:
                raise ValueError(f"recipe.{name} takes a number below 1, got {value!r}.")
        if not isinstance(self.lr_decay, int | float) or not 0 < self.lr_decay <= 1:
            raise ValueError(
                f"recipe.lr_decay takes a number above 0 and up to 1, got {self.lr_decay!r}."
            )
        if self.gate_target is not None and not 0 <= self.gate_target <= 1:
            raise ValueError(
                f"recipe.gate_target takes a share from 0 to 1, or null, got {self.gate_target!r}."
            )
        choose(dict.fromkeys(OPTIMIZERS), self.optimizer, what="optimizer")
        _check_epochs(self)

    @property
    def thaws(self) -> bool:
        """Whether it changes in the course of training what is trained."""
        return bool(self.unfreeze) or self.frozen_until > 0

    def effective_batch(self, devices: int) -> int:
        """Return the images that one movement of the weights is made of."""
        return self.batch_size * self.accumulate * devices

    def peak_lr(self, devices: int) -> float:
        """Return the highest learning rate, scaled to the effective batch."""
        return self.lr * self.effective_batch(devices) / self.lr_images


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_epochs(recipe: Recipe) -> None:
    """Raise if a stage would begin to train when there is no epoch left, or at no epoch at all."""
    if recipe.frozen_until >= recipe.epochs:
        raise ValueError(
            f"recipe.frozen_until={recipe.frozen_until} leaves none of recipe.epochs="
            f"{recipe.epochs} to the backbone; lower it, or freeze for the whole run with "
            "backbone.freeze=5 in place of it."
        )
    if not isinstance(recipe.unfreeze, Mapping):
        raise ValueError(  # noqa: TRY004 (a user's option, as the others)
            f"recipe.unfreeze takes epochs by stage, such as {{c5: 1, c4: 3}}, got "
            f"{recipe.unfreeze!r}."
        )
    for stage, epoch in recipe.unfreeze.items():
        choose(dict.fromkeys(STAGES), stage, what="stage in recipe.unfreeze")
        least = max(1, recipe.frozen_until)
        if not _is_count(epoch) or not least <= epoch < recipe.epochs:
            raise ValueError(
                f"recipe.unfreeze.{stage} takes a number of epochs from {least} to "
                f"{recipe.epochs - 1}, got {epoch!r}; recipe.epochs is {recipe.epochs}, "
                f"recipe.frozen_until {recipe.frozen_until}. A command line adds to the recipe's "
                f"own stages: ~recipe.unfreeze.{stage} takes one out."
            )
