"""The training loop of a segmenter."""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from backbones.layers.gate import record_gates
from tasks.common.audit.gather import score_together
from tasks.common.recipe.gates import check_gates, gate_losses, mean_share
from tasks.common.recipe.optim import scheduled_optimizer
from tasks.common.recipe.recipe import Recipe
from tasks.segmentation.data.dataset import CaseSample
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.model.prefix import FrozenPatches, logits_from
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.scores.metrics import METRICS, Scores, case_scores, summarise
from tasks.segmentation.scores.segment import segment

Batch = tuple[Tensor, Tensor] | FrozenPatches
"""Patches and their labels; the patches, or what frozen stages have made of them."""


class SegmentationModule(lightning.LightningModule):
    """Train a U-Net on patches, and score it on whole cases.

    Args:
        network: The segmenter.
        loss: Of logits, or those of several levels, and labels.
        recipe: Optimiser, learning rate and schedule.
        card: Goes into every checkpoint.
        settings: What the losses depend on beside the network; goes into every checkpoint.
        tolerance: Of the surface Dice, in the unit of the images' spacing.
        devices: How many processes share a batch; scales the learning rate.

    Attributes:
        scores: Of each split that was scored: a row per class and one for their mean.
        cases: Of the split scored last: the scores of each case.
    """

    def __init__(
        self,
        network: ResNetUNet,
        *,
        loss: nn.Module,
        recipe: Recipe,
        card: SegmenterCard,
        settings: Mapping[str, Any],
        tolerance: float,
        devices: int = 1,
    ) -> None:
        super().__init__()
        check_gates(network.backbone, recipe)
        self.network = network
        self.loss = loss
        self.recipe = recipe
        self.card = card
        self.settings = settings
        self.tolerance = tolerance
        self.devices = devices
        self.scores: dict[str, Scores] = {}
        self.cases: dict[str, Scores] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss.

        Raises:
            FloatingPointError: If it is NaN or infinite.
        """
        labels = batch[1]
        with record_gates(self.network.backbone) as gates:
            logits = self._logits(batch)
        loss: Tensor = self.loss(logits, labels)
        loss = loss + sum(gate_losses(gates, self.recipe).values())
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.global_step}. Lower recipe.lr, set "
                "recipe.clip, or use trainer.precision=32."
            )
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"])
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(labels))
        self.log_dict(mean_share(gates), batch_size=len(labels))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the cases of the epoch before."""
        self.cases = {}

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: CaseSample, batch_idx: int) -> None:  # noqa: ARG002
        """Score a case by the overlap; distances would take longer than the network."""
        self.cases[batch.name] = self._scored(batch, surfaces=False)

    def test_step(self, batch: CaseSample, batch_idx: int) -> None:  # noqa: ARG002
        """Score a case by everything."""
        self.cases[batch.name] = self._scored(batch, surfaces=True)

    def on_validation_epoch_end(self) -> None:
        """Score the validation split."""
        if not self.trainer.sanity_checking:
            self._summarise("val")

    def on_test_epoch_end(self) -> None:
        """Score the test split."""
        self._summarise("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the card and the last validation's scores beside the weights."""
        checkpoint["keel"] = self.card.to_dict()
        checkpoint["keel_run"] = dict(self.settings)
        checkpoint["keel_scores"] = self.scores.get("val", {})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the recipe's optimiser over fixed groups, and its schedule, a value per step."""
        return scheduled_optimizer(
            self.network,
            self.network.backbone,
            recipe=self.recipe,
            devices=self.devices,
            steps=int(self.trainer.estimated_stepping_batches),
            precision=str(self.trainer.precision),
        )

    def _logits(self, batch: Batch) -> Any:  # noqa: ANN401 (a tensor, or one per level)
        if isinstance(batch, FrozenPatches):
            return logits_from(self.network, batch)
        return self.network(batch[0].contiguous(memory_format=torch.channels_last))

    def _scored(self, case: CaseSample, *, surfaces: bool) -> Scores:
        classes = self.card.classes
        found = segment(self.network, case.image, self.card.input, exclusive=classes.exclusive)
        return case_scores(
            found,
            case.labels,
            classes,
            spacing=case.spacing,
            tolerance=self.tolerance,
            surfaces=surfaces,
        )

    def _summarise(self, split: str) -> None:
        """Score the cases of all processes together, and log the scores per class."""

        def both(cases: dict[str, Scores]) -> dict[str, Any]:
            return {"cases": cases, "summary": summarise(cases, self.card.classes)}

        together = score_together(self.cases, both)
        self.cases, self.scores[split] = together["cases"], together["summary"]
        for name, row in self.scores[split].items():
            suffix = "" if name == "mean" else f"/{name}"
            shown = {key: row[key] for key in (*METRICS, "miss_rate") if key in row}
            self.log_dict({f"{split}/{key}{suffix}": value for key, value in shown.items()})
