"""A detector whose frozen stages were run before: what is kept of an image, and what follows."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from backbones import Backbone
from tasks.common.data.feature_cache.cache import Encoder
from tasks.common.data.feature_cache.entry import Entry, batch_maps, keep_maps
from tasks.common.data.feature_cache.key import file_stamp
from tasks.detection.data.annotations import Annotations
from tasks.detection.model.detector import Detector

_MULTIPLE = 32  # torchvision pads to it


class FrozenBatch(NamedTuple):
    """A training batch behind the frozen stages.

    Features are (N, C, H, W), each image padded on its own; ``boxes`` of the targets are in pixels
    of the resized images, whose height and width without padding are ``sizes``, of the batch
    ``padded``.
    """

    features: dict[str, Tensor]
    targets: list[dict[str, Any]]
    sizes: list[tuple[int, int]]
    padded: tuple[int, int]


@dataclass(frozen=True, eq=False)
class DetectionEncoder(Encoder):
    """Makes entries of a detector's training images; ``decides`` is augmentation and seed.

    An image is resized and padded alone. In a batch its features are padded with zeros, where
    those of an image that is padded in the batch are what the stages make of the padding.
    """

    network: Detector
    split: Annotations
    decides: Mapping[str, Any]

    @property
    def backbone(self) -> Backbone:
        """The detector's backbone."""
        return self.network.backbone.body

    def encode(self, sample: tuple[Tensor, dict[str, Any]], device: torch.device) -> Entry:
        """Return what the frozen stages make of an image."""
        image, target = sample
        boxes = {"boxes": target["boxes"].to(device)}
        images, (resized,) = self.network.transform([image.to(device).float() / 255], [boxes])
        truth = {
            "boxes": resized["boxes"].cpu(),
            "labels": target["labels"],
            "image_id": torch.tensor(target["image_id"]),
            "size": torch.tensor(images.image_sizes[0]),
            "padded": torch.tensor(images.tensors.shape[-2:]),
        }
        return Entry(keep_maps(self.backbone.frozen_features(images.tensors)), truth)

    @staticmethod
    def collate(entries: list[Entry]) -> FrozenBatch:
        """Return the batch of entries."""
        truths = [entry.truth for entry in entries]
        height, width = torch.stack([t["padded"] for t in truths]).amax(dim=0).tolist()
        return FrozenBatch(
            features=batch_maps(entries),
            targets=[
                {"boxes": t["boxes"], "labels": t["labels"], "image_id": int(t["image_id"])}
                for t in truths
            ],
            sizes=[(int(t["size"][0]), int(t["size"][1])) for t in truths],
            padded=(height, width),
        )

    def pixels(self) -> list[int]:
        """Return the pixels of each image after resizing and padding."""
        transform, found = self.network.transform, []
        for record in self.split.images:
            size = record.height, record.width
            scale = min(transform.min_size[-1] / min(size), transform.max_size / max(size))
            height, width = (math.ceil(math.floor(s * scale) / _MULTIPLE) * _MULTIPLE for s in size)
            found.append(height * width)
        return found

    def identity(self) -> dict[str, Any]:
        """Return the files, their boxes, and how images are read, changed and resized."""
        transform, records = self.network.transform, self.split.images
        return {
            **self.decides,
            "transform": [transform.min_size, transform.max_size],
            "normalise": [transform.image_mean, transform.image_std],
            "reading": asdict(self.split.reading),
            "images": [[record.image_id, *file_stamp(record.path)] for record in records],
            "boxes": [[record.boxes.tolist(), record.labels.tolist()] for record in records],
        }


def losses_from(network: Detector, batch: FrozenBatch) -> dict[str, Tensor]:
    """Return a detector's four losses, as its forward does in training."""
    body: Backbone = network.backbone.body
    levels = network.backbone.fpn(body.forward_from(batch.features))
    # Of the images only the sizes are still needed, here that of the batch.
    blank = next(iter(batch.features.values())).new_zeros(())
    images = ImageList(blank.expand(len(batch.sizes), 1, *batch.padded), batch.sizes)
    return network.losses_of(levels, images, batch.targets)
