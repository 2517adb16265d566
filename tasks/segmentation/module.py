"""The training loop of a segmenter."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from backbones import Backbone
from tasks.common.audit.gather import score_together
from tasks.common.recipe.recipe import Recipe
from tasks.common.report.clock import Part
from tasks.common.run.module import NetworkModule
from tasks.segmentation.data.cases import Labels
from tasks.segmentation.data.dataset import CaseSample
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.model.frozen_features import FrozenPatches, logits_from
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.scores.metrics import LOGGED, Scores, case_scores, summarise
from tasks.segmentation.scores.windows import segment
from tasks.segmentation.scores.worst import Worst, with_case, worst_of

Batch = tuple[Tensor, Tensor] | FrozenPatches
"""Patches and their labels; the patches, or what frozen stages have made of them."""


class SegmentationModule(NetworkModule):
    """Train a U-Net on patches, and score it on whole cases.

    ``scores`` has a row per class and one for their mean, ``results`` the scores of each case.
    ``tolerance`` is that of the surface Dice, in the unit of the images' spacing. ``worst`` are the
    worst cases of the test, with what was found in them.
    """

    network: ResNetUNet
    card: SegmenterCard
    results: dict[str, Scores]

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
        super().__init__(network, recipe=recipe, card=card, settings=settings, devices=devices)
        self.loss = loss
        self.tolerance = tolerance
        self.worst: Worst = {}

    @property
    def backbone(self) -> Backbone:
        """The part of the segmenter that has stages."""
        return self.network.backbone

    def set_grad_checkpointing(self) -> None:
        """Compute activations twice, those of the decoder too."""
        self.network.set_grad_checkpointing()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the one loss."""
        if isinstance(batch, FrozenPatches):
            logits = logits_from(self.network, batch)
        else:
            logits = self.network(batch[0].contiguous(memory_format=torch.channels_last))
        return {"loss_masks": self.loss(logits, batch[1])}

    def validation_step(self, batch: CaseSample, batch_idx: int) -> None:  # noqa: ARG002
        """Score a case by the overlap; distances would take longer than the network."""
        self.results[batch.name] = self._scored(batch, self._found(batch), surfaces=False)

    def test_step(self, batch: CaseSample, batch_idx: int) -> None:  # noqa: ARG002
        """Score a case by everything, and keep what was found if it is one of the worst."""
        found = self._found(batch)
        self.results[batch.name] = scores = self._scored(batch, found, surfaces=True)
        self.worst = with_case(self.worst, batch.name, scores, found, batch.labels)

    def on_test_epoch_start(self) -> None:
        """Forget the results of an earlier test."""
        super().on_test_epoch_start()
        self.worst = {}

    def _found(self, case: CaseSample) -> Labels:
        exclusive = self.card.classes.exclusive
        return segment(self.network, case.image, self.card.input, exclusive=exclusive)

    def _scored(self, case: CaseSample, found: Labels, *, surfaces: bool) -> Scores:
        classes = self.card.classes
        with self.trainer.profiler.profile(Part.SCORING):  # type: ignore[attr-defined]
            return case_scores(
                found, case.labels, classes, case, tolerance=self.tolerance, surfaces=surfaces
            )

    def score(self, split: str) -> dict[str, float]:
        """Summarise the cases of all processes; return the scores of each class."""

        def both(cases: dict[str, Scores]) -> dict[str, Any]:
            return {"cases": cases, "summary": summarise(cases, self.card.classes)}

        together = score_together(self.results, both)
        self.results, self.scores[split] = together["cases"], together["summary"]
        if split == "test":
            self.worst = score_together(self.worst, worst_of)
        return {
            metric.name if name == "mean" else f"{metric.name}/{name}": row[metric.name]
            for name, row in self.scores[split].items()
            for metric in LOGGED
            if metric.name in row
        }
