"""The training loop of a detector."""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from backbones.layers.gate import record_gates
from tasks.common.audit.gather import score_together
from tasks.common.recipe.gates import check_gates, gate_losses, mean_share
from tasks.common.recipe.optim import scheduled_optimizer
from tasks.common.recipe.recipe import Recipe
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.prefix import FrozenBatch, losses_from
from tasks.detection.model.smoothing import smoothed_classes
from tasks.detection.scores.metrics import Result, coco_ap, to_results

Batch = tuple[list[Tensor], list[dict[str, Any]]]
"""Images (C, H, W), uint8, and targets with ``boxes``, ``labels`` and ``image_id``."""


class DetectionModule(lightning.LightningModule):
    """Train a Faster R-CNN, and score it by COCO AP.

    Args:
        network: The detector; torchvision's training interface.
        recipe: Optimiser, learning rate and schedule.
        card: Goes into every checkpoint.
        settings: What the losses depend on beside the network; goes into every checkpoint.
        truths: The evaluator's COCO dictionary of each split that is scored, ``val`` and ``test``.
        devices: How many processes share a batch; scales the learning rate.
    """

    def __init__(
        self,
        network: FasterRCNN,
        *,
        recipe: Recipe,
        card: DetectorCard,
        settings: Mapping[str, Any],
        truths: Mapping[str, Mapping[str, Any]],
        devices: int = 1,
    ) -> None:
        super().__init__()
        check_gates(network.backbone.body, recipe)
        self.network = network
        self.recipe = recipe
        self.card = card
        self.settings = settings
        self.truths = truths
        self.devices = devices
        self.scores: dict[str, dict[str, float]] = {}
        self.results: dict[int, list[Result]] = {}

    def training_step(self, batch: Batch | FrozenBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the sum of the detector's four losses, and of what gates are to do.

        Raises:
            FloatingPointError: If a loss is NaN or infinite; it names the loss and the images.
        """
        targets = batch[1]
        with (
            record_gates(self.network.backbone) as gates,
            smoothed_classes(self.network, self.recipe.label_smoothing) as smooth,
        ):
            losses = smooth(self._losses(batch))
        losses |= gate_losses(gates, self.recipe)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            found = {name: loss.item() for name, loss in losses.items()}
            ids = [target["image_id"] for target in targets]
            raise FloatingPointError(
                f"the loss is not finite at step {self.global_step}: {found}, images {ids}. Lower "
                "recipe.lr, set recipe.clip, or use trainer.precision=32."
            )
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"])
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=len(targets))
        self.log_dict(
            {f"train/{name}": loss.detach() for name, loss in losses.items()} | mean_share(gates),
            batch_size=len(targets),
        )
        return total

    def on_validation_epoch_start(self) -> None:
        """Forget the detections of the epoch before."""
        self.results = {}

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Keep the detections for the end of the epoch."""
        images, targets = batch
        predictions = self.network(_unit_range(images))
        for prediction, target in zip(predictions, targets, strict=True):
            self.results[target["image_id"]] = to_results(
                prediction, image_id=target["image_id"], category_ids=self.card.category_ids
            )

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Score the detections of the validation split."""
        if not self.trainer.sanity_checking:
            self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score the detections of the test split."""
        self._score("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the card and the last validation's scores beside the weights."""
        checkpoint["keel"] = self.card.to_dict()
        checkpoint["keel_run"] = dict(self.settings)
        checkpoint["keel_scores"] = self.scores.get("val", {})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the recipe's optimiser over fixed groups, and its schedule, a value per step."""
        return scheduled_optimizer(
            self.network,
            self.network.backbone.body,
            recipe=self.recipe,
            devices=self.devices,
            steps=int(self.trainer.estimated_stepping_batches),
            precision=str(self.trainer.precision),
        )

    def _losses(self, batch: Batch | FrozenBatch) -> dict[str, Tensor]:
        if isinstance(batch, FrozenBatch):
            return losses_from(self.network, batch)
        losses: dict[str, Tensor] = self.network(_unit_range(batch[0]), batch[1])
        return losses

    def _score(self, split: str) -> None:
        """Gather the detections of all processes, score them in the first, tell the others."""

        def score(results: dict[int, list[Result]]) -> dict[str, float]:
            found = [r for i in sorted(results) for r in results[i]]
            return coco_ap(self.truths[split], found, limit=self.card.options.scored_detections)

        self.scores[split] = scores = score_together(self.results, score)
        self.log_dict({f"{split}/{name}": value for name, value in scores.items()})


def _unit_range(images: list[Tensor]) -> list[Tensor]:
    return [image.float().div_(255) for image in images]
