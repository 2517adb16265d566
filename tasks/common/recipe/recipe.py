"""The ``recipe`` group of the configuration: how to train, whatever the task and the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from backbones.choose import choose
from backbones.errors import UserError
from tasks.common.options.limits import Options, choice, integer, is_integer, number
from tasks.common.recipe.stages import STAGES

OPTIMIZERS: Final = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True)
class Recipe(Options, group="recipe"):
    """How to train, whatever the task and the architecture.

    What trains in which epoch is a pure function of it:
    `tasks.common.recipe.unfreeze.frozen_stages`.

    Attributes:
        epochs: How often each image is seen.
        batch_size: Images per step on one device.
        accumulate: Steps whose gradients are added up before the weights move.
        optimizer: ``sgd``, with momentum but without Nesterov's, or ``adamw``.
        lr: Learning rate of a step over ``lr_images`` images; scaled linearly with the effective
            batch (Goyal et al., arXiv:1706.02677).
        lr_images: The effective batch that ``lr`` is meant for.
        backbone_lr_factor: The learning rate of the backbone's last stage over that of the rest.
        lr_decay: The learning rate of each stage over that of the next, down to the stem; 1 gives
            all stages the same (Clark et al., arXiv:2003.10555, section 3.1).
        momentum: Momentum of SGD, or AdamW's first beta.
        weight_decay: Decay of the weights; norms and biases have none.
        warmup: Steps over which the learning rate rises from 0, linearly.
        final_lr_factor: The last learning rate over the highest, at the end of the cosine.
        restarts: How often the cosine starts again from the highest learning rate, at even
            distances (Loshchilov and Hutter, arXiv:1608.03983).
        clip: Highest norm of the gradients, which are scaled down to it; 0 for no limit.
        frozen_until: How many epochs the whole backbone is frozen for, before what
            ``backbone.freeze`` leaves free begins to train.
        unfreeze: After how many epochs a stage that ``backbone.freeze`` froze begins to train, by
            name, the last stage first (Howard and Ruder, arXiv:1801.06146, section 3.3).
        ema: Decay of the moving average of the weights that is validated and kept; 0 for none.
            See `tasks.common.recipe.ema`.
        label_smoothing: Share of the truth that cross entropy spreads evenly over all classes: of
            the box classifier, or of the pixels; from 0 to below 1.
        gate_target: The share of its residuals that a backbone with gates is to use, from 0
            to 1; None leaves that to the task's loss.
        gate_weight: Weight in the loss of the penalty for missing ``gate_target``.
    """

    epochs: int = integer(12, least=1)
    batch_size: int = integer(4, least=1)
    accumulate: int = integer(1, least=1)
    optimizer: str = choice("sgd", OPTIMIZERS)
    lr: float = number(0.02, least=0)
    lr_images: int = integer(16, least=1)
    backbone_lr_factor: float = number(1.0, least=0)
    lr_decay: float = number(1.0, above=0, most=1)
    momentum: float = number(0.9, least=0, below=1)
    weight_decay: float = number(1e-4, least=0)
    warmup: int = integer(100, least=0)
    final_lr_factor: float = number(0.0, least=0)
    restarts: int = integer(0, least=0)
    clip: float = number(0.0, least=0)
    frozen_until: int = integer(0, least=0)
    unfreeze: dict[str, int] = field(default_factory=dict)
    ema: float = number(0.0, least=0, below=1)
    label_smoothing: float = number(0.0, least=0, below=1)
    gate_target: float | None = number(None, least=0, most=1, noun="share", also={None: "null"})
    gate_weight: float = number(1.0, least=0)

    def __post_init__(self) -> None:
        """Check the fields, and that every stage which begins to train has an epoch left."""
        super().__post_init__()
        if self.frozen_until >= self.epochs:
            raise UserError(
                f"recipe.frozen_until={self.frozen_until} leaves none of recipe.epochs="
                f"{self.epochs} to the backbone; lower it, or freeze for the whole run with "
                "backbone.freeze=5 in place of it."
            )
        if not isinstance(self.unfreeze, Mapping):
            raise UserError(
                f"recipe.unfreeze takes epochs by stage, such as {{c5: 1, c4: 3}}, got "
                f"{self.unfreeze!r}."
            )
        for stage, epoch in self.unfreeze.items():
            choose(dict.fromkeys(STAGES), stage, what="stage in recipe.unfreeze")
            least = max(1, self.frozen_until)
            if not is_integer(epoch) or not least <= epoch < self.epochs:
                raise UserError(
                    f"recipe.unfreeze.{stage} takes a number of epochs from {least} to "
                    f"{self.epochs - 1}, got {epoch!r}; recipe.epochs is {self.epochs}, "
                    f"recipe.frozen_until {self.frozen_until}. A command line adds to the recipe's "
                    f"own stages: ~recipe.unfreeze.{stage} takes one out."
                )

    @property
    def thaws(self) -> bool:
        """Whether the number of frozen stages changes during training."""
        return bool(self.unfreeze) or self.frozen_until > 0

    def effective_batch(self, devices: int) -> int:
        """Return the number of images per update of the weights."""
        return self.batch_size * self.accumulate * devices

    def peak_lr(self, devices: int) -> float:
        """Return the highest learning rate, scaled to the effective batch."""
        return self.lr * self.effective_batch(devices) / self.lr_images
