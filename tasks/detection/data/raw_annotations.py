"""What a layout reads: images and their objects as the files have them, before any cleaning."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backbones.errors import UserError
from tasks.common.files.paths import hint, listed
from tasks.detection.data.box_formats import Stored, judge

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One annotated object."""

    label: int  # in 1..K
    # x, y, width, height in pixels, from the left and upper edge of the image; the width is
    # negative where a box was drawn from right to left
    bbox: Box
    ignored: bool = False  # scored as a COCO crowd region, and not trained on
    area: float | None = None  # in square pixels; None for that of the box
    stored: Box | None = None  # the file's four numbers, which tell its format; None for ``bbox``
    outlined: bool = False  # whether the file has an outline alone, around which the box was drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledImage:
    """One image and its regions, in the order of the file; without an id it is numbered from 1."""

    path: Path
    file_name: str
    image_id: int | None = None
    height: int
    width: int
    regions: list[Region]


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """The images of a split, or of a data set that is still to be divided; see `Annotations`.

    ``ignored_reason`` is the key of `Annotations.cleaned` that counts ignored regions.
    """

    source: Path
    image_folder: Path
    images: Sequence[LabelledImage]
    classes: Sequence[str]
    category_ids: Sequence[int]
    ignored_reason: str = "ignored"
    one_based: bool = True
    warnings: Sequence[str] = ()

    def with_warnings(self, *texts: str) -> "LabelledSet":
        """Return the set with more warnings; an empty text is none."""
        return replace(self, warnings=(*self.warnings, *filter(None, texts)))

    def judged(self, stored: Stored, *, first: int, option: str) -> "LabelledSet":
        """Return the set with the warnings of `judge`; ``option`` counts pixels from ``first``."""
        found = [(image, region) for image in self.images for region in image.regions]
        numbers = np.array([r.stored or r.bbox for _, r in found], np.float64).reshape(-1, 4)
        sizes = np.array([(image.width, image.height) for image, _ in found], np.float64)
        try:
            warnings = judge(numbers, sizes, stored=stored)
        except UserError as error:
            raise UserError(f"{self.source}: {error}") from error
        begins = numbers[:, :2]
        zeros, ones = int((begins == 0).sum()), int((begins == 1).sum())
        seen = ""
        if first == 1 and zeros:
            seen = f"{zeros} sides of boxes begin at 0"
        elif first == 0 and not zeros and ones > max(2, begins.size // 100):
            seen = f"{ones} sides of boxes begin at 1 and none at 0"
        if seen:
            warnings.append(
                f"{seen}, but {option} counts pixels from {first}: if the boxes are counted from "
                f"{1 - first}, all lie a pixel off"
            )
        return self.with_warnings(*warnings)


def check_classes(classes: Sequence[str], known: Sequence[str]) -> None:
    """Raise UserError unless every class is among the ``known`` ones, once."""
    if repeated := [name for name, times in Counter(classes).items() if times > 1]:
        raise UserError(f"classes has {listed(repeated)} more than once.")
    if missing := [name for name in classes if name not in known]:
        raise UserError(
            f"no category {listed(missing)}{hint(missing[0], known)}; "
            f"it has {listed(known, limit=10)}. "
            "Expected a category for every class; rename the categories to match."
        )


Parts = dict[str, LabelledSet]
"""What a layout returns: the splits that a data set has, by name.

``train`` is always there; ``val`` and ``test`` where the data set has them. Without ``val``,
``train`` is all that there is to learn from and to choose the checkpoint with: it is divided.
"""
