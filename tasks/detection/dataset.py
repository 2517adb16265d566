"""Images and boxes as tensors, and the check of all image files before a run."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tasks.common.advice import advice
from tasks.common.augmentation import seed_steps
from tasks.common.sampling import Key, draw_seed
from tasks.detection.annotations import Annotations, ImageRecord
from tasks.detection.decoded import DecodedImages
from tasks.detection.missing import missing_text
from tasks.detection.transforms import SeededTransform, apply

SKIPPED: Final = "on an image that was skipped"
SKIPPED_IMAGES: Final = "images skipped"

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"

# Boxes lie in the image as it is stored, so its EXIF orientation is not applied.
_FLAGS: Final[Mapping[int, int]] = {
    1: cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    3: cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
}


class DetectionDataset(Dataset[tuple[Tensor, dict[str, Any]]]):
    """The images of a split with their boxes.

    A sample is ``(image, target)``: the image (C, H, W), uint8, RGB or gray; the target with
    ``boxes`` (B, 4), float32, xyxy in pixels, ``labels`` (B,), int64, in 1..K, and ``image_id``, an
    int. Its random changes depend on (seed, epoch, index) alone, so neither the number of workers
    nor the batch size changes them.

    Images of 16 bits are divided by 256; transparency is dropped; palettes and CMYK become RGB; an
    EXIF orientation is not applied, since boxes are drawn on the stored pixels.

    Args:
        annotations: The split.
        transform: See `train_transform`; None for the images as they are.
        seed: Of the run, 0 or above.
        in_channels: 3 for RGB, 1 for gray.
        decoded: Of these images, to decode each once only; see `decoded_images`. None decodes an
            image whenever it is asked for. It changes no sample.

    Raises:
        ValueError: If ``in_channels`` is neither 1 nor 3. By a sample: if its file is not an
            image, is truncated, or has not the size that the annotations say.
        FileNotFoundError: By a sample, if its file is missing.
    """

    def __init__(
        self,
        annotations: Annotations,
        *,
        transform: SeededTransform | None = None,
        seed: int = 0,
        in_channels: int = 3,
        decoded: DecodedImages | None = None,
    ) -> None:
        _check_channels(in_channels)
        self.annotations = annotations
        self.transform = transform
        self.seed = seed
        self.in_channels = in_channels
        self._decoded = decoded

    def __len__(self) -> int:
        return len(self.annotations.images)

    def __getitem__(self, key: Key | int) -> tuple[Tensor, dict[str, Any]]:
        """Return a sample.

        Args:
            key: Epoch and index, or an index in epoch 0.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        record = self.annotations.images[index]
        read = partial(_read_checked, record, in_channels=self.in_channels)
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


def decoded_images(
    annotations: Annotations, *, in_channels: int, folder: Path | None = None
) -> DecodedImages:
    """Return room for every image of a split; the datasets of the split can share it.

    Args:
        annotations: The split.
        in_channels: Of the datasets: 3 for RGB, 1 for gray.
        folder: Where a scratch file for them lies; None keeps them in memory.
    """
    channels = (3,) if in_channels == 3 else ()
    return DecodedImages(
        [(record.height, record.width, *channels) for record in annotations.images], folder=folder
    )


def _read_checked(record: ImageRecord, *, in_channels: int) -> NDArray[np.uint8]:
    """Return `read_image` of a record, if it has the size that the annotations say."""
    image = read_image(record.path, in_channels=in_channels)
    size = (image.shape[1], image.shape[0])
    if size != (record.width, record.height):
        raise ValueError(f"{record.path} {_size_fault(size, record)}.")
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
    """Return the images and the targets of a batch, each as a list.

    Images differ in size and are padded by the model.

    Args:
        batch: Pairs of image (C, H, W) and target.
    """
    return [image for image, _ in batch], [target for _, target in batch]


def read_image(path: Path, *, in_channels: int = 3) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (H, W, 3) in RGB or (H, W) in gray.

    Args:
        path: A JPEG, PNG, BMP, TIFF or WebP file.
        in_channels: 3 for RGB, 1 for gray.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image, is truncated, or ``in_channels`` is neither 1 nor 3.
    """
    _check_channels(in_channels)
    content = path.read_bytes()
    # OpenCV 4 fills the missing part of a JPEG with gray and says nothing.
    if not _is_complete(content):
        raise ValueError(f"{path} is empty or truncated; restore the file or remove the image.")
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), _FLAGS[in_channels])
    if pixels is None:
        raise ValueError(f"{path} cannot be decoded as an image; restore the file or remove it.")
    if in_channels == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels.astype(np.uint8, copy=False)


def check_images(annotations: Annotations, *, policy: Literal["error", "skip"]) -> Annotations:
    """Return the annotations after a look at every image file.

    A file must exist, have the annotated size, and be whole. JPEG and PNG files are judged by
    their header and their end, thousands in a second; others are decoded.

    Args:
        annotations: The split.
        policy: What to do about images that fail: ``"error"`` raises, ``"skip"`` leaves them out,
            from the truth as well, and counts them in `Annotations.cleaned`.

    Raises:
        ValueError: With the first five files, the number of all, and what is there instead of a
            missing one, if ``policy`` is ``"error"``; in any case if no image is left; if
            ``policy`` is neither of the two.
    """
    if policy not in ("error", "skip"):
        raise ValueError(f"policy is {policy!r}; expected 'error' or 'skip'.")
    faults: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for record in annotations.images:
            if fault := _fault(record):
                faults[record.image_id] = f"{record.name} {fault}"
    if not faults:
        return annotations
    total = len(annotations.images)
    if policy == "error" or len(faults) == total:
        first = "; ".join(list(faults.values())[:5])
        rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(
            f"{annotations.source}: {len(faults)} of {total} images cannot be used: {first}{rest}. "
            f"{missing_text(annotations)}Repair or remove them"
            f"{advice('; on_bad_image=skip leaves out some, never all')}."
        )
    return _without(annotations, set(faults))


def _without(annotations: Annotations, image_ids: set[int]) -> Annotations:
    """Return the annotations of the other images."""
    truth = dict(annotations.truth)
    truth["images"] = [entry for entry in truth["images"] if entry["id"] not in image_ids]
    kept = [entry for entry in truth["annotations"] if entry["image_id"] not in image_ids]
    lost = len(truth["annotations"]) - len(kept)
    truth["annotations"] = [{**entry, "id": number} for number, entry in enumerate(kept, start=1)]
    cleaned = Counter(annotations.cleaned)
    cleaned[SKIPPED_IMAGES] += len(image_ids)
    if lost:
        cleaned[SKIPPED] += lost
    images = [record for record in annotations.images if record.image_id not in image_ids]
    return replace(annotations, images=images, truth=truth, cleaned=dict(cleaned))


def _fault(record: ImageRecord) -> str:
    """Return what is wrong with an image file, or an empty string."""
    try:
        with Image.open(record.path) as image:
            size, kind = image.size, image.format
            if kind not in ("JPEG", "MPO", "PNG"):
                image.load()
    except FileNotFoundError:
        return "does not exist"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"
    if size != (record.width, record.height):
        return _size_fault(size, record)
    if kind in ("JPEG", "MPO", "PNG") and not _ends(record.path):
        return "is truncated"
    return ""


def _size_fault(size: tuple[int, int], record: ImageRecord) -> str:
    """Return that an image of ``size`` (width, height) is not what the annotations say."""
    fault = f"is {size[0]}x{size[1]} pixels, but annotated as {record.width}x{record.height}"
    if size == (record.height, record.width):
        fault += " (turned by its EXIF orientation? Save it upright)"
    return fault


def _ends(path: Path) -> bool:
    """Return whether a JPEG or PNG file is complete; nearly always from its last bytes."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read()
    return tail.rstrip(b"\0\r\n").endswith((_JPEG_END, _PNG_END)) or _is_complete(path.read_bytes())


def _is_complete(content: bytes) -> bool:
    """Return whether JPEG or PNG data reach their end; other data need not be empty."""
    if content.startswith(_JPEG_START):
        # The end of the image follows its pixels; that of an EXIF thumbnail comes before them.
        return content.rfind(_JPEG_END) > content.rfind(_JPEG_SCAN)
    if content.startswith(_PNG_START):
        return _PNG_END in content
    return bool(content)


def _check_channels(in_channels: int) -> None:
    if in_channels not in _FLAGS:
        raise ValueError(f"in_channels is {in_channels}; expected 3 (RGB) or 1 (gray).")
