"""A trained detector, as programs and the scripts use it: images in, detections out."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.errors import UserError
from tasks.common.files.paths import existing_file
from tasks.common.images.flat import with_channels
from tasks.common.images.held import ImageLike, held_pixels, path_of, without_alpha
from tasks.common.machine.machine import device_of
from tasks.common.machine.precision import autocast
from tasks.common.machine.precision import precision as checked_precision
from tasks.common.predict.batches import in_batches
from tasks.common.report.advice import in_python
from tasks.common.resume.card import find_checkpoint
from tasks.common.share.trained import TrainedNetwork
from tasks.detection.data.images import eight_bits, open_image
from tasks.detection.data.sides import narrow_fault, padded_size
from tasks.detection.model.card import DetectorCard, restore_detector

_CHANNELS: Final = (1, 2, 3, 4)  # gray and RGB, each with and without alpha

Seen = NDArray[np.uint8] | Tensor
"""What a detector sees: (H, W, 3) or (H, W), uint8, or a tensor (C, H, W) in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """What a detector found in one image of ``height`` x ``width`` pixels, best first.

    An image that was turned upright by its EXIF orientation has the size and the boxes of the
    upright image.
    """

    boxes: NDArray[np.float32]  # (B, 4): x1, y1, x2, y2 in pixels of the image
    labels: NDArray[np.int64]  # (B,): 1 for the first class, up to K
    scores: NDArray[np.float32]  # (B,): from 0 to 1
    names: tuple[str, ...]  # of the B classes
    height: int
    width: int

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.scores)

    def above(self, threshold: float) -> Self:
        """Return those with a score of at least ``threshold``, from 0 to 1."""
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold takes a score from 0 to 1, got {threshold!r}.")
        kept = self.scores >= threshold  # compared in float32
        return type(self)(
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            scores=self.scores[kept],
            names=tuple(name for name, keep in zip(self.names, kept, strict=True) if keep),
            height=self.height,
            width=self.width,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return ``boxes``, ``labels`` and ``scores`` as torchvision's functions take them."""
        found = {"boxes": self.boxes, "labels": self.labels, "scores": self.scores}
        return {name: torch.from_numpy(array) for name, array in found.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedDetector(TrainedNetwork[DetectorCard]):
    """A detector with what its checkpoint says of it; `load_detector` makes one.

    ``precision`` is what it computes with: ``auto``, ``32``, ``bf16`` or ``fp16``. `network` is a
    `tasks.detection.model.detector.Detector`; see `TrainedNetwork`.
    """

    BACKBONE: ClassVar = ("backbone", "body")
    USAGE: ClassVar = """from tasks.detection import load_detector

model = load_detector("this folder, or hf:owner/name")
found = model("image.png", threshold=0.5)  # found.boxes, found.names, found.scores"""

    precision: str = "auto"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the label of the first one is 1."""
        return self.card.classes

    @overload
    def __call__(
        self, images: ImageLike, *, threshold: float = 0.0, batch_size: int = 1
    ) -> Detections: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        threshold: float = 0.0,
        batch_size: int = 1,
    ) -> list[Detections]: ...

    def __call__(
        self,
        images: ImageLike | list[Any] | tuple[Any, ...],
        *,
        threshold: float = 0.0,
        batch_size: int = 1,
    ) -> Detections | list[Detections]:
        """Return what is found in an image, or in each of a list of images.

        A file and an image of Pillow's become what training made of such a file: colour or gray as
        the detector was trained, without alpha, 8 bits by the range of its data, EXIF orientation
        by `Reading.exif`. An array, (H, W) or (H, W, C) in RGB order, is treated as the pixels of a
        file. A tensor, (H, W) or (C, H, W), is the same if it is uint8; a floating-point tensor
        must be in [0, 1], from black to white.

        Args:
            images: One image or a list: paths, arrays, tensors, images of Pillow's.
            threshold: Lowest score, from 0 to 1; 0 returns all that the detector returns, which
                are those from ``model.score_threshold`` on.
            batch_size: Images that go through the network at once, of those that `kind` tells
                alike; results do not depend on it but for rounding.

        Raises:
            UserError: If an image has another type, shape or range or is too narrow to be resized,
                or a file is damaged.
            FileNotFoundError: If a file does not exist.
        """
        if batch_size < 1:
            raise UserError(f"batch_size takes an integer of at least 1, got {batch_size!r}.")
        several = isinstance(images, list | tuple)
        given: Sequence[Any] = images if several else [images]  # type: ignore[assignment]
        read = (
            self._read(image, name=f"image {number}" if several else "the image")
            for number, image in enumerate(given)
        )
        pairs = in_batches(read, size=batch_size, key=self.kind, compute=self.detect)
        kept = [found.above(threshold) for _, found in pairs]
        return kept if several else kept[0]

    def kind(self, image: Seen) -> tuple[int, int]:
        """Return the size of the padded input, which images of one batch need to have in common.

        Further padding would change the results.
        """
        height, width = image.shape[1:] if isinstance(image, Tensor) else image.shape[:2]
        return padded_size(height, width, self.card.options)

    @torch.inference_mode()
    def detect(self, images: Sequence[Seen]) -> list[Detections]:
        """Return what is found in images that have been read, in one batch, on the CPU."""
        tensors = [_unit_range(image, self.device) for image in images]
        with autocast(self.precision, device=self.device.type, option="precision"):
            found = self.network(tensors)
        return [
            self._detections(one, size=tuple(image.shape[1:]))
            for one, image in zip(found, tensors, strict=True)
        ]

    def read_file(self, path: Path) -> tuple[NDArray[np.uint8], int]:
        """Return the pixels of a file as the detector sees them, and its EXIF orientation."""
        with in_python():
            found = open_image(path, in_channels=self.card.in_channels, reading=self.card.reading)
        self._refuse_narrow(found[0], name=str(path))
        return found

    def seen(self, frame: NDArray[np.uint8], *, name: str) -> NDArray[np.uint8]:
        """Return an RGB image (H, W, 3) of 8 bits as the detector sees it; `name` is for errors."""
        self._refuse_narrow(frame, name=name)
        return np.asarray(with_channels(frame, self.card.in_channels), np.uint8)

    def _refuse_narrow(self, pixels: NDArray[Any], *, name: str) -> None:
        if fault := narrow_fault(pixels.shape[0], pixels.shape[1], self.card.options):
            raise UserError(f"{name} {fault}. Cut it into parts.")

    def _read(self, image: ImageLike, *, name: str) -> Seen:
        path = path_of(image)
        if path is not None:
            return self.read_file(existing_file(path, what="image"))[0]
        pixels, orientation = held_pixels(image, channels=_CHANNELS, name=name)
        wanted = self.card.in_channels
        pixels = with_channels(without_alpha(pixels, channels=wanted), wanted)
        self._refuse_narrow(pixels, name=name)
        if isinstance(image, Tensor) and image.is_floating_point():
            return _checked(torch.from_numpy(np.atleast_3d(pixels)), name).permute(2, 0, 1)
        with in_python():
            return eight_bits(pixels, orientation, reading=self.card.reading, path=Path(name))

    def _detections(self, found: dict[str, Tensor], *, size: tuple[int, ...]) -> Detections:
        labels = found["labels"].cpu().numpy()
        return Detections(
            boxes=found["boxes"].float().cpu().numpy(),
            labels=labels,
            scores=found["scores"].float().cpu().numpy(),
            names=tuple(self.classes[label - 1] for label in labels.tolist()),
            height=size[0],
            width=size[1],
        )


def load_detector(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    precision: str = "auto",
    detections_per_image: int | None = None,
    exif: str | None = None,
    range_: tuple[float, float] | None = None,
) -> TrainedDetector:
    """Return a trained detector, ready for images.

    Args:
        path: A checkpoint, the folder of a run (its best checkpoint), a folder of
            ``save_pretrained``, or ``hf:owner/name`` with ``@revision`` if wanted.
        device: ``auto``, ``cuda``, ``cuda:1`` or ``cpu``; ``auto`` takes cuda where there is one.
        precision: ``32``, ``bf16`` or ``fp16``; ``auto`` takes bf16 where the hardware has it.
        detections_per_image: Most detections of an image; None is as in training.
        exif: What is done about images that are rotated by their EXIF orientation: ``apply``,
            ``refuse`` or ``ignore`` (docs/data.md); None is as in training.
        range_: What becomes 0 and 255 of images of other numbers than 8 bits; the rest is cut off.
            None is as in training.

    Raises:
        UserError: If the file is damaged or holds no detector, or an option is out of range.
        FileNotFoundError: If there is no such file or folder.
        ConnectionError: If a repository of the hub has to be downloaded and cannot be.
    """
    where = device_of(device)
    checked_precision(precision, device=where.type, option="precision")
    checkpoint = find_checkpoint(Path(path))
    with in_python():
        network, card = restore_detector(
            checkpoint, detections_per_image=detections_per_image, exif=exif, range_=range_
        )
    return TrainedDetector(
        network=network.to(where), card=card, precision=precision, checkpoint=checkpoint
    )


def _unit_range(image: Seen, device: torch.device) -> Tensor:
    """Return (C, H, W) in [0, 1]."""
    if isinstance(image, Tensor):
        return image.to(device, torch.float32)
    pixels = torch.from_numpy(np.atleast_3d(image)).permute(2, 0, 1)
    return pixels.to(device).float() / 255


def _checked(image: Tensor, name: str) -> Tensor:
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise UserError(
            f"{name} is a tensor of {str(image.dtype).removeprefix('torch.')} from {low:g} to "
            f"{high:g}; expected 0 to 1, or uint8 from 0 to 255. Divide it by its largest value."
        )
    return image
