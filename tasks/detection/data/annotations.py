"""What every detection data set is read into, whatever its file format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.detection.data.images import Reading


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image and what is trained on; without ``file_name`` its name is that of ``path``.

    Boxes are (B, 4), float32, xyxy in pixels, ``0 <= x1 < x2 <= width``, without crowd regions; B
    may be 0. Labels are (B,), int64: ``labels[i] = k`` is ``Annotations.classes[k - 1]``.
    """

    path: Path
    image_id: int
    height: int
    width: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    file_name: str = ""

    @property
    def name(self) -> str:
        """What to call the image in a message."""
        return self.file_name or self.path.name


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """One split of a detection data set, images without boxes included.

    Attributes:
        source: The file or folder it was read from, for messages.
        classes: Names of the K classes; label k is ``classes[k - 1]``, 0 is the background.
        category_ids: The data set's own id of each class, in the same order.
        truth: The COCO dictionary that the evaluator compares with; it has crowd regions, and no
            degenerate boxes.
        cleaned: How many annotations were changed, by reason, such as ``{"no area": 2}``.
        one_based: Whether the coordinates of Pascal-VOC files were read as counting from 1.
        image_folder: What the names of the images are relative to; None where each lies.
        warnings: Of its content, a sentence each.
    """

    source: Path
    classes: Sequence[str]
    category_ids: Sequence[int]
    images: Sequence[ImageRecord]
    truth: Mapping[str, Any]
    cleaned: Mapping[str, int]
    one_based: bool = True
    image_folder: Path | None = None
    warnings: Sequence[str] = ()
    reading: Reading = field(default_factory=Reading)

    @property
    def num_boxes(self) -> int:
        """How many boxes there are to learn from."""
        return sum(len(record.boxes) for record in self.images)
