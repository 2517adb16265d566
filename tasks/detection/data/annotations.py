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
    """One split of a detection data set, images without boxes included."""

    source: Path  # the file or folder it was read from, for messages
    classes: Sequence[str]  # K names; label k is ``classes[k - 1]``, 0 is the background
    category_ids: Sequence[int]  # the data set's own id of each class, in the same order
    images: Sequence[ImageRecord]
    # the COCO dictionary that the evaluator compares with: crowd regions too, no degenerate boxes
    truth: Mapping[str, Any]
    cleaned: Mapping[str, int]  # how many annotations were changed, by reason: {"no area": 2}
    one_based: bool = True  # whether coordinates of Pascal-VOC files were read as counting from 1
    image_folder: Path | None = None  # what images' names are relative to; None where each lies
    warnings: Sequence[str] = ()  # of its content, a sentence each
    reading: Reading = field(default_factory=Reading)

    @property
    def num_boxes(self) -> int:
        """How many boxes there are to learn from."""
        return sum(len(record.boxes) for record in self.images)
