"""Images and boxes as tensors."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import prod
from multiprocessing import Lock
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from backbones.errors import UserError
from tasks.common.data.augmentation import seed_steps
from tasks.common.data.samplers import Key, draw_seed
from tasks.common.files.shared_memory import Scratch
from tasks.detection.data.annotations import Annotations, ImageRecord
from tasks.detection.data.check import size_fault
from tasks.detection.data.images import Reading, check_channels, open_image
from tasks.detection.data.transforms import SeededTransform, apply


class DetectionDataset(Dataset[tuple[Tensor, dict[str, Any]]]):
    """The images of a split with their boxes.

    A sample is ``(image, target)``: the image (C, H, W), uint8, RGB or gray; the target with
    ``boxes`` (B, 4), float32, xyxy in pixels, ``labels`` (B,), int64, in 1..K, and ``image_id``, an
    int. Its random changes depend on (seed, epoch, index) alone.
    """

    def __init__(
        self,
        annotations: Annotations,
        *,
        transform: SeededTransform | None = None,
        seed: int = 0,
        in_channels: int = 3,
        decoded: "DecodedImages | None" = None,
    ) -> None:
        check_channels(in_channels)
        self.annotations = annotations
        self.transform = transform
        self.seed = seed
        self.in_channels = in_channels
        self._decoded = decoded

    def __len__(self) -> int:
        return len(self.annotations.images)

    def __getitem__(self, key: Key | int) -> tuple[Tensor, dict[str, Any]]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        record = self.annotations.images[index]
        reading = self.annotations.reading
        read = partial(_read_checked, record, in_channels=self.in_channels, reading=reading)
        image = read() if self._decoded is None else self._decoded.get(index, read)
        boxes, labels = record.boxes, record.labels
        if self.transform is not None:
            seed_steps(self.transform, draw_seed(self.seed, epoch, index))
            image, boxes, labels = apply(self.transform, image, boxes, labels)
        target = {
            "boxes": torch.from_numpy(boxes.copy()),
            "labels": torch.from_numpy(labels.copy()),
            "image_id": record.image_id,
        }
        return torch.from_numpy(_planes(image)), target


class DecodedImages:
    """Keeps decoded images in memory that all workers share, or in a file in ``folder``."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], *, folder: Path | None = None) -> None:
        self._shapes = list(shapes)
        # Before the images there is a byte for each, 1 once it is there.
        sizes = (prod(shape) for shape in shapes)
        self._starts = list(accumulate(sizes, initial=len(self._shapes)))
        self._scratch = Scratch(self._starts[-1], folder=folder)
        self._lock = Lock()

    def get(self, index: int, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a copy of an image, decoded by ``read`` if no process has done so yet."""
        start, end = self._starts[index : index + 2]
        place = self._scratch.bytes(start, end).reshape(self._shapes[index])
        mark = self._scratch.bytes(index, index + 1)
        # The lock is for the order of writes: whoever sees the mark sees the whole image.
        with self._lock:
            is_filled = bool(mark[0])
        if not is_filled:
            place[...] = read()
            with self._lock:
                mark[0] = 1
        return place.copy()


def decoded_images(
    annotations: Annotations, *, in_channels: int, folder: Path | None = None
) -> DecodedImages:
    """Return memory for every decoded image of a split, in a file in ``folder`` if there is one."""
    channels = (3,) if in_channels == 3 else ()
    return DecodedImages(
        [(record.height, record.width, *channels) for record in annotations.images], folder=folder
    )


def _read_checked(record: ImageRecord, *, in_channels: int, reading: Reading) -> NDArray[np.uint8]:
    """Return the pixels of a record, if it has the size that the annotations say."""
    image, orientation = open_image(record.path, in_channels=in_channels, reading=reading)
    size = (image.shape[1], image.shape[0])
    if size != (record.width, record.height):
        raise UserError(f"{record.path} {size_fault(size, record, orientation=orientation)}.")
    return image


def _planes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (C, H, W) of an image (H, W, 3) or (H, W); half the time of a transposed copy."""
    planes = np.empty((image.size // (image.shape[0] * image.shape[1]), *image.shape[:2]), np.uint8)
    pairs = [side for channel in range(len(planes)) for side in (channel, channel)]
    cv2.mixChannels([np.ascontiguousarray(image)], list(planes), pairs)
    return planes


def collate(
    batch: Sequence[tuple[Tensor, dict[str, Any]]],
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Return the images and the targets of a batch, each as a list; the model pads them."""
    return [image for image, _ in batch], [target for _, target in batch]
