"""The training loop of a detector."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backbones import Backbone
from tasks.common.audit.gather import score_together
from tasks.common.recipe.recipe import Recipe
from tasks.common.run.module import NetworkModule
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.detector import Detector
from tasks.detection.model.frozen_features import FrozenBatch, losses_from
from tasks.detection.scores.metrics import Result, coco_ap, to_results

Batch = tuple[list[Tensor], list[dict[str, Any]]]
"""Images (C, H, W), uint8, and targets with ``boxes``, ``labels`` and ``image_id``."""


class DetectionModule(NetworkModule):
    """Train a detector, and score it by COCO AP.

    ``truths`` are the evaluator's COCO dictionaries of ``val`` and ``test``. `results` are the
    detections of each image by its id; once scored, the first process has those of all processes.
    """

    network: Detector
    card: DetectorCard
    results: dict[int, list[Result]]

    def __init__(
        self,
        network: Detector,
        *,
        recipe: Recipe,
        card: DetectorCard,
        settings: Mapping[str, Any],
        truths: Mapping[str, Mapping[str, Any]],
        devices: int = 1,
    ) -> None:
        super().__init__(network, recipe=recipe, card=card, settings=settings, devices=devices)
        self.truths = truths

    @property
    def backbone(self) -> Backbone:
        """The part of the detector that has stages."""
        return self.network.backbone.body

    def losses(self, batch: Batch | FrozenBatch) -> dict[str, Tensor]:
        """Return the detector's four losses."""
        with self.network.smoothed_classes(self.recipe.label_smoothing) as smooth:
            if isinstance(batch, FrozenBatch):
                return smooth(losses_from(self.network, batch))
            return smooth(self.network(_unit_range(batch[0]), batch[1]))

    def image_names(self, batch: Batch | FrozenBatch) -> list[int]:
        """Return the images' ids."""
        return [target["image_id"] for target in batch[1]]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Keep the detections for the end of the epoch."""
        images, targets = batch
        predictions = self.network(_unit_range(images))
        for prediction, target in zip(predictions, targets, strict=True):
            self.results[target["image_id"]] = to_results(
                prediction, image_id=target["image_id"], category_ids=self.card.category_ids
            )

    test_step = validation_step

    def score(self, split: str) -> dict[str, float]:
        """Score the detections of all processes by COCO AP."""

        def score(results: dict[int, list[Result]]) -> dict[str, float]:
            self.results = results
            found = [r for i in sorted(results) for r in results[i]]
            return coco_ap(self.truths[split], found, limit=self.card.options.scored_detections)

        self.scores[split] = score_together(self.results, score)
        return self.scores[split]


def _unit_range(images: list[Tensor]) -> list[Tensor]:
    return [image.float().div_(255) for image in images]
