"""Random changes of an image and its boxes, by albumentations."""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.common.data.augmentation import Seeded, albumentations
from tasks.detection.options import AugmentOptions

_BOXES: Final = {
    "format": "pascal_voc",
    "label_fields": ["index"],
    "clip": True,
    # `clip` alone still raises for a box that is empty afterwards.
    "filter_invalid_bboxes": True,
    "min_area": 1,
    "min_visibility": 0.1,
}


class SeededTransform(Seeded, Protocol):
    """What is needed of an ``albumentations.Compose`` that was built as in `train_transform`."""

    def __call__(
        self, *, image: NDArray[np.uint8], bboxes: NDArray[np.float32], index: NDArray[np.int64]
    ) -> dict[str, Any]:
        """Return the changed arguments; ``index`` (B,) goes with the boxes, xyxy in pixels."""


def train_transform(options: AugmentOptions) -> SeededTransform:
    """Return an augmentation for training, an ``albumentations.Compose``.

    A box of which less than a tenth, or less than a square pixel, stays in the image is dropped.
    """
    low, high = options.scale
    with albumentations() as library:
        steps = [
            library.HorizontalFlip(p=options.flip),
            library.VerticalFlip(p=options.vertical_flip),
        ]
        if (low, high, options.shift) != (1.0, 1.0, 0.0):
            steps.append(
                library.Affine(
                    scale=(low, high),
                    translate_percent=(-options.shift, options.shift),
                    keep_ratio=True,
                    fill=114,
                    p=1,
                )
            )
        if strength := options.color_jitter:
            factors = (1 - strength, 1 + strength)
            steps.append(
                library.ColorJitter(
                    brightness=factors,
                    contrast=factors,
                    saturation=factors,
                    hue=(-strength / 4, strength / 4),
                    p=1,
                )
            )
        transform: SeededTransform = library.Compose(
            steps, bbox_params=library.BboxParams(**_BOXES)
        )
    return transform


def apply(
    transform: SeededTransform,
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Return the image, boxes (B, 4) and labels (B,) after a transform as of `train_transform`.

    The image (H, W, 3) or (H, W) may get another size (H', W'). The B' <= B boxes that are left
    have ``0 <= x1 < x2 <= W'``.
    """
    # Albumentations turns labels into float32, so they stay here and only their places travel.
    result = transform(image=image, bboxes=boxes, index=np.arange(len(boxes)))
    changed: NDArray[np.uint8] = result["image"]
    height, width = changed.shape[:2]
    moved = np.asarray(result["bboxes"], dtype=np.float32).reshape(-1, 4)  # [B',4]
    moved = moved.clip(0, np.array([width, height, width, height], dtype=np.float32))
    index = np.asarray(result["index"], dtype=np.int64).reshape(-1)
    left = (moved[:, 0] < moved[:, 2]) & (moved[:, 1] < moved[:, 3])
    return changed, moved[left], labels[index[left]]
