"""How many stages are frozen in each epoch, and the callback that freezes them."""

from collections.abc import Callable

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from backbones import Backbone
from backbones.errors import UserError
from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.stages import STAGES, stages_text


def frozen_stages(recipe: Recipe, epoch: int, *, base: int, stages: int) -> int:
    """Return how many stages are frozen in an epoch, counted from 0.

    ``backbone.freeze`` freezes ``base`` of all ``stages``; `check_unfreezing` accepts the recipe.

    >>> gradual = Recipe(frozen_until=1, unfreeze={"c4": 2, "c3": 5})
    >>> [frozen_stages(gradual, epoch, base=4, stages=5) for epoch in range(7)]
    [5, 4, 3, 3, 3, 2, 2]
    """
    if epoch < recipe.frozen_until:
        return stages
    return base - sum(epoch >= start for start in recipe.unfreeze.values())


def phases(recipe: Recipe, *, base: int, stages: int) -> dict[int, int]:
    """Return the number of frozen stages by the epochs at which it changes, the first included."""
    found: dict[int, int] = {}
    for epoch in sorted({0, recipe.frozen_until, *recipe.unfreeze.values()}):
        count = frozen_stages(recipe, epoch, base=base, stages=stages)
        if count not in found.values():
            found[epoch] = count
    return found


def check_unfreezing(recipe: Recipe, *, base: int, stages: int) -> None:
    """Raise UserError unless ``recipe.unfreeze`` names the last frozen stages, last one first."""
    for stage in recipe.unfreeze:
        index = STAGES.index(stage)
        if index >= stages:
            raise UserError(
                f"recipe.unfreeze names {stage}, which this backbone does not have: its stages are "
                f"{stages_text(stages)}. Leave it out."
            )
        if index >= base:
            raise UserError(
                f"recipe.unfreeze names {stage}, which is not frozen at the start: frozen is "
                f"{stages_text(base)} (of random weights nothing is, by itself). Load weights, set "
                f"backbone.freeze={index + 1}, or leave {stage} out: ~recipe.unfreeze.{stage}."
            )
    expected = STAGES[base - len(recipe.unfreeze) : base][::-1]
    for stage in expected:
        if stage not in recipe.unfreeze:
            raise UserError(
                f"recipe.unfreeze leaves {stage} frozen between stages that train; name {stage} "
                "too, or fewer stages before it."
            )
    for later, stage in zip(expected[1:], expected, strict=False):
        if recipe.unfreeze[later] < recipe.unfreeze[stage]:
            raise UserError(
                f"recipe.unfreeze has {later} train after {recipe.unfreeze[later]} epochs, before "
                f"{stage} after {recipe.unfreeze[stage]}; the stage nearer to the head comes first."
            )


def unfreezing_text(recipe: Recipe) -> str:
    """Return what changes in which epoch, counted from 1, for the banner; may be empty."""
    parts = []
    if recipe.frozen_until:
        parts.append(f"all of the backbone frozen in epochs 1 to {recipe.frozen_until}")
    by_epoch = sorted(recipe.unfreeze.items(), key=lambda item: item[1])
    parts += [f"{stage} trains from epoch {epoch + 1}" for stage, epoch in by_epoch]
    return "; ".join(parts)


class Unfreezing(Callback):
    """Freezes ``frozen(epoch)`` stages at the start of each epoch; they may not increase."""

    def __init__(self, backbone: Backbone, frozen: Callable[[int], int], *, epochs: int) -> None:
        self.backbone = backbone
        self.frozen = frozen
        self.epochs = epochs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Unfreeze all that will ever train: DDP gathers no gradients that it did not see here."""
        if stage == "fit":
            self.backbone.freeze(self.frozen(self.epochs - 1))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Freeze when a run resumes in the middle of an epoch, which does not start again."""
        self.backbone.freeze(self.frozen(trainer.current_epoch))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Freeze for this epoch."""
        self.backbone.freeze(self.frozen(trainer.current_epoch))
