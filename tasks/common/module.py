"""What the training loops of all tasks share: fixed groups, scores, and what a checkpoint says."""

from collections.abc import Mapping
from typing import Any

import lightning
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from backbones import Backbone
from tasks.common.checkpoint import Card
from tasks.common.gates import check_gates
from tasks.common.optim import scheduled_optimizer
from tasks.common.recipe import Recipe


class TaskModule(lightning.LightningModule):
    """Train a network by a recipe, score it per split, and put its card into every checkpoint.

    Args:
        network: What is trained; its state is what a checkpoint is loaded for.
        recipe: Optimiser, learning rate and schedule.
        card: Goes into every checkpoint.
        run: What else decides how the run goes on, in plain values; saved for `check_resume`.
        devices: How many processes share a batch; scales the learning rate.

    Attributes:
        scores: Of each split that was scored, ``val`` and ``test``.

    Raises:
        ValueError: If the recipe does not fit the backbone's gates.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        card: Card,
        run: Mapping[str, Any],
        devices: int,
    ) -> None:
        super().__init__()
        self.network = network
        check_gates(self.backbone, recipe)
        self.recipe = recipe
        self.card = card
        self.run = run
        self.devices = devices
        self.scores: dict[str, Any] = {}

    @property
    def backbone(self) -> Backbone:
        """The part of the network that has stages."""
        raise NotImplementedError

    def forget(self) -> None:
        """Forget what the epoch before found; a split is about to be scored."""
        raise NotImplementedError

    def score(self, split: str) -> None:
        """Fill ``scores[split]`` with what was found, of all processes, and log it."""
        raise NotImplementedError

    def log_step(self, loss: Tensor, *, batch_size: int) -> None:
        """Log the loss of a step, and the learning rate of the head."""
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"])
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=batch_size)

    def on_validation_epoch_start(self) -> None:
        """Begin to score."""
        self.forget()

    def on_test_epoch_start(self) -> None:
        """Begin to score."""
        self.forget()

    def on_validation_epoch_end(self) -> None:
        """Score the validation split."""
        if not self.trainer.sanity_checking:
            self.score("val")

    def on_test_epoch_end(self) -> None:
        """Score the test split."""
        self.score("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the card and the last validation's scores beside the weights."""
        checkpoint["keel"] = self.card.to_dict()
        checkpoint["keel_run"] = dict(self.run)
        checkpoint["keel_scores"] = self.scores.get("val", {})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the recipe's optimiser over fixed groups, and its schedule, a value per step."""
        return scheduled_optimizer(
            self.network,
            self.backbone,
            recipe=self.recipe,
            devices=self.devices,
            steps=int(self.trainer.estimated_stepping_batches),
            precision=str(self.trainer.precision),
        )
