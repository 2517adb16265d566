"""A U-Net whose frozen stages were run before: what is kept of a patch, and what follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backbones import Backbone
from backbones.errors import UserError
from tasks.common.data.feature_cache.cache import Encoder
from tasks.common.data.feature_cache.entry import Entry, batch_maps, keep_maps
from tasks.common.data.feature_cache.key import file_stamp
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions


class FrozenPatches(NamedTuple):
    """A training batch behind the frozen stages: features (N, C, H, W) by name, and labels.

    ``c0`` is the image, where the U-Net has a skip connection from it.
    """

    features: dict[str, Tensor]
    labels: Tensor


@dataclass(frozen=True, eq=False)
class PatchEncoder(Encoder):
    """Makes entries of a segmenter's patches; ``decides`` is input, augmentation and seed."""

    network: ResNetUNet
    cases: CaseSet
    options: InputOptions
    decides: Mapping[str, Any]

    @property
    def backbone(self) -> Backbone:
        """The segmenter's backbone."""
        return self.network.backbone

    def encode(self, sample: tuple[Tensor, Tensor], device: torch.device) -> Entry:
        """Return what the frozen stages make of a patch."""
        image, labels = sample
        x = image[None].to(device).contiguous(memory_format=torch.channels_last)
        x = self.network.padded(x)
        features = self.backbone.frozen_features(x)
        skip = {"c0": x} if self.network.image_skip else {}
        return Entry(keep_maps(skip | features), {"labels": labels})

    @staticmethod
    def collate(entries: list[Entry]) -> FrozenPatches:
        """Return the batch of entries."""
        labels = torch.stack([entry.truth["labels"] for entry in entries])
        return FrozenPatches(features=batch_maps(entries), labels=labels)

    def pixels(self) -> list[int]:
        """Return the pixels of each patch; all have the same."""
        return [self.options.patch[0] * self.options.patch[1]] * self.options.patches

    def identity(self) -> dict[str, Any]:
        """Return the files, and how patches are cut and changed."""
        files = [path for case in self.cases.cases for path in (*case.images, *case.masks)]
        return {
            **self.decides,
            "image_skip": self.network.image_skip,
            "classes": repr(self.cases.classes),
            "axis": self.cases.axis,
            "exif": self.cases.exif,
            "channels": self.cases.channels,
            "files": [file_stamp(path) for path in files],
        }


def check_views(views: int, options: InputOptions, *, slices: int) -> None:
    """Raise if slices would never be seen."""
    seen = views * options.patches
    if views and seen < slices:
        raise UserError(
            f"feature_cache.views={views} of input.patches={options.patches} show {seen} of "
            f"{slices} slices, the others never: take more of either."
        )


def logits_from(network: ResNetUNet, batch: FrozenPatches) -> Tensor | tuple[Tensor, ...]:
    """Return what the network's forward does."""
    image = {name: x for name, x in batch.features.items() if name == "c0"}
    features = image | network.backbone.forward_from(batch.features)
    height, width = batch.labels.shape[-2:]
    return network.decode(features, size=(height, width))
