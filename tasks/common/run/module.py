"""The training loop that the tasks share."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from backbones import Backbone
from backbones.layers.gate import record_gates
from tasks.common.recipe.gates import check_gates, gate_losses, mean_share
from tasks.common.recipe.optim import scheduled_optimizer
from tasks.common.recipe.recipe import Recipe
from tasks.common.report.clock import Part
from tasks.common.resume.card import NetworkCard


class NetworkModule(lightning.LightningModule):
    """Train a network with a backbone, and score it; a task adds its losses and its scores.

    ``card`` and ``settings``, what the losses depend on beside the network, go into checkpoints.
    `results`, by image or case, are of the split scored last; `scores` of every split so far.
    `trained` is how many images this process has trained on.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        card: NetworkCard,
        settings: Mapping[str, Any],
        devices: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        check_gates(self.backbone, recipe)
        self.recipe = recipe
        self.card = card
        self.settings = settings
        self.devices = devices
        self.results: dict[Any, Any] = {}
        self.scores: dict[str, dict[str, Any]] = {}
        self.trained = 0

    @property
    def backbone(self) -> Backbone:
        """The part of the network that has stages."""
        raise NotImplementedError

    def set_grad_checkpointing(self) -> None:
        """Compute activations twice in place of keeping them, as ``trainer.grad_checkpointing``."""
        self.backbone.set_grad_checkpointing()

    def losses(self, batch: Any) -> dict[str, Tensor]:  # noqa: ANN401 (the task's)
        """Return the losses of a training batch by name; their sum is minimised."""
        raise NotImplementedError

    def score(self, split: str) -> dict[str, float]:
        """Score the results of all processes, keep the scores, and return those to be logged."""
        raise NotImplementedError

    def image_names(self, batch: Any) -> Sequence[Any]:  # noqa: ANN401, ARG002 (the task's)
        """Return the names of a batch's images, for messages; none if they have none."""
        return ()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401, ARG002
        """Free the gradients of the last step; Lightning keeps them during the forward pass."""
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.trainer.optimizers[0].zero_grad()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401, ARG002
        """Return the sum of the losses, and of what gates are to do."""
        with record_gates(self.backbone) as gates:
            losses = self.losses(batch)
        losses |= gate_losses(gates, self.recipe)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            found = {name: loss.item() for name, loss in losses.items()}
            names = self.image_names(batch)
            images = f", images {names}" if names else ""
            raise FloatingPointError(
                f"the loss is {total.item()} at step {self.global_step}: {found}{images}. Lower "
                "recipe.lr, set recipe.clip, or use trainer.precision=32."
            )
        count = len(batch[1])
        self.trained += count
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"])
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=count)
        parts = {f"train/{name}": loss.detach() for name, loss in losses.items() if len(losses) > 1}
        self.log_dict(parts | mean_share(gates), batch_size=count)
        return total

    def on_validation_epoch_start(self) -> None:
        """Forget the results of the epoch before."""
        self.results = {}

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Score the validation split."""
        if not self.trainer.sanity_checking:
            self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Score the test split."""
        self._log_scores("test")

    def _log_scores(self, split: str) -> None:
        with self.trainer.profiler.profile(Part.SCORING):  # type: ignore[attr-defined]
            scores = self.score(split)
        self.log_dict({f"{split}/{name}": value for name, value in scores.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the card, the settings and the last validation's scores beside the weights."""
        checkpoint["keel"] = self.card.to_dict()
        checkpoint["keel_run"] = dict(self.settings)
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
