"""What is particular to the export of a segmenter: batches of any size, windows, intensities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import nn

from backbones.errors import UserError
from tasks.common.export.comparing import Agreement, Masks, compare_masks
from tasks.common.export.formats import INSIDE, OUTSIDE
from tasks.common.export.keel_runtime import Model
from tasks.common.export.prepared import Prepared
from tasks.common.export.run_data import drawn
from tasks.common.export.subject import Graph, Image, Subject
from tasks.segmentation.data.input import PERCENTILES
from tasks.segmentation.data.load import Splits, read_splits
from tasks.segmentation.data.store import load_case
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.scores.metrics import case_scores, summarise
from tasks.segmentation.scores.trained import TrainedSegmenter
from tasks.segmentation.scores.windows import LEAST_WEIGHT, SIGMA

_EXAMPLE: Final = (2, 96, 128)  # images, height and width
_SLICES: Final = 3  # of a volume, that results are compared on


class ExportedSegmenter(Subject):
    """A trained segmenter, with the splits of its run where they can be read."""

    card: SegmenterCard

    metric = "Dice"
    tries_empty = False  # group norms make much of the rounding where nothing varies
    resizes = False

    def __init__(self, model: TrainedSegmenter, *, checkpoint: Path) -> None:
        super().__init__(model, checkpoint=checkpoint)
        self.model = model

    def read_splits(self, cfg: DictConfig) -> Splits:
        """See `Subject`."""
        return read_splits(cfg.data, policy="skip")[0]

    def place(self, wanted: str | None) -> str:
        """See `Subject`: inside for flat images of 8 bits, which are all scaled alike."""
        why = self._outside()
        if wanted == INSIDE and why:
            raise UserError(
                f"--preprocessing inside: {why}, which is no part of the network's graph; leave "
                "it out, or take outside."
            )
        return wanted or (OUTSIDE if why else INSIDE)

    def _outside(self) -> str:
        """Return why images are prepared outside of the file; empty if they need not be."""
        inputs, splits = self.card.input, self.splits
        if inputs.normalisation != "imagenet":
            return f"input.normalisation={inputs.normalisation} scales the numbers of each image"
        if inputs.neighbours:
            return f"input.neighbours={inputs.neighbours} joins slices of a volume"
        parts = splits.by_name().values() if splits else ()
        kinds = {*self.card.dtypes, *(kind for part in parts for kind in part.dtypes())}
        # Older checkpoints do not say it; the file then refuses images of other types.
        kinds = kinds or {"uint8"}
        return (
            "" if kinds == {"uint8"} else f"images have numbers of type {', '.join(sorted(kinds))}"
        )

    def graph(self, network: nn.Module, *, place: str) -> Graph:
        """See `Subject`."""
        card, inside = self.card, place == INSIDE
        made = torch.Generator().manual_seed(0)
        count, height, width = _EXAMPLE
        shape = (count, height, width, card.channels)
        images = torch.randint(0, 256, shape, generator=made, dtype=torch.uint8)
        if not inside:
            images = torch.randn(count, card.in_channels, height, width, generator=made)
        return Graph(
            module=Prepared(network, card.conventions, inside=inside).eval(),
            example=images,
            layout="NHWC" if inside else "NCHW",
            outputs=("logits",),
            free=(0, 1, 2) if inside else (0, 2, 3),
            multiple=self.network.multiple,
            network=r"^/network/(backbone|blocks|segmentation_head)[./]",  # blocks: the decoder's
            last=r"/segmentation_head/",
        )

    def facts(self, *, place: str) -> dict[str, Any]:
        """See `Subject`."""
        card, inputs = self.card, self.card.input
        return {
            "image_channels": card.channels,
            "preprocessing": {
                "where": place,
                "steps": "numbers scaled as of normalisation; neighbouring slices as further "
                "channels; minus mean, divided by std",
                "normalisation": inputs.normalisation,
                "window": list(inputs.window),
                "percentiles": list(PERCENTILES),
                "neighbours": inputs.neighbours,
                "mean": list(card.conventions.mean),
                "std": list(card.conventions.std),
            },
            "reading": {"exif": card.exif, "colours": "equal" if card.gray_or_rgb else ""},
        }

    def results(self) -> dict[str, Any]:
        """See `Subject`."""
        classes, inputs = self.card.classes, self.card.input
        return {
            "exclusive": classes.exclusive,
            "mask_values": [list(values) for values in classes.values],
            "windows": {
                "size": list(inputs.patch),
                "overlap": inputs.overlap,
                "flips": inputs.flips,
                "sigma": SIGMA,
                "least_weight": LEAST_WEIGHT,
            },
            "thresholds": {"probability": "largest" if classes.exclusive else 0.5},
        }

    def images(self, split: str, count: int, *, seed: int) -> list[Image]:
        """See `Subject`; of volumes some slices."""
        splits: Splits | None = self.splits
        if splits is None:
            return []
        cases = splits.by_name()[split].cases
        chosen = drawn(len(cases.cases), count, seed=seed)
        return [_shown(load_case(cases.cases[k], cases, self.card.input).image) for k in chosen]

    def eager(self, image: Image) -> Masks:
        """Return the mask and the probabilities of an image (H, W, C) or a volume (D, H, W, C)."""
        found = self.model(image, probabilities=True)
        return found.mask, cast("NDArray[np.float32]", found.probabilities)

    def compare(self, model: Model, images: Sequence[Image]) -> Agreement:
        """See `Subject`."""
        pairs = ((self.eager(i), (model.segment(i), model.probabilities(i))) for i in images)
        return compare_masks(pairs)

    def score(self, model: Model) -> float:
        """See `Subject`; the mean Dice of the classes."""
        splits: Splits | None = self.splits
        if splits is None:
            raise UserError(f"{self.data_note}, so no score can be measured.")
        cases, split, classes = {}, splits.val.cases, self.card.classes
        for case in split.cases:
            loaded = load_case(case, split, self.card.input)
            found = model.segment(np.moveaxis(loaded.image, 0, -1))
            cases[case.name] = case_scores(
                found, loaded.labels, classes, loaded.geometry, tolerance=1, surfaces=False
            )
        return float(summarise(cases, classes)["mean"]["dice"])

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See `Subject`; of the graph with images prepared outside."""
        channels, (height, width) = self.card.in_channels, self.card.input.patch
        low = self.network.multiple
        return {
            "min": (1, channels, low, low),
            "opt": (1, channels, height, width),
            "max": (4, channels, max(height, 1024), max(width, 1024)),
        }


def _shown(image: NDArray[Any]) -> Image:
    """Return a flat image as (H, W, C), of a volume (C, D, H, W) the middle as (D, H, W, C)."""
    depth = image.shape[1]
    if depth == 1:
        return np.ascontiguousarray(np.moveaxis(image[:, 0], 0, -1))
    first = max(0, (depth - _SLICES) // 2)
    return np.ascontiguousarray(np.moveaxis(image[:, first : first + _SLICES], 0, -1))
