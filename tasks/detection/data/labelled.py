"""What the readers of file formats hand over, and its division into splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tasks.common.data.splits import SIDES, draw_sides, group_of
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.box_formats import Stored, judge
from tasks.detection.data.boxes import LabelledImage, annotations_of


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """Images and regions as their files have them, before cleaning.

    Attributes:
        source: The file or folder they were read from.
        image_folder: Where the images are.
        images: All of them.
        classes: Names of the K classes.
        category_ids: The data set's own id of each class, in the same order.
        ignored_reason: The key of `Annotations.cleaned` that counts ignored regions.
        one_based: See `Annotations`.
        warnings: What a user should know of them, a sentence each.
    """

    source: Path
    image_folder: Path
    images: Sequence[LabelledImage]
    classes: Sequence[str]
    category_ids: Sequence[int]
    ignored_reason: str
    one_based: bool = True
    warnings: Sequence[str] = ()

    def judged(self, stored: Stored) -> "LabelledSet":
        """Return the set with what is suspect about its boxes among its warnings.

        Args:
            stored: The format that the layout asks for; see `judge`.

        Raises:
            ValueError: If the boxes are in another format or in other pixels, with ``source``.
        """
        found = [(image, region) for image in self.images for region in image.regions]
        numbers = np.array([region.stored or region.bbox for _, region in found], np.float64)
        sizes = np.array([(image.width, image.height) for image, _ in found], np.float64)
        try:
            suspect = judge(numbers, sizes, stored=stored)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from error
        return replace(self, warnings=(*self.warnings, *suspect))

    def counted_from(self, first: int, option: str) -> "LabelledSet":
        """Return the set with a warning if its boxes seem to be counted from another number.

        Args:
            first: What the left column of pixels is called: 0 or 1.
            option: Who says so, for the message.
        """
        regions = [region for image in self.images for region in image.regions]
        begins = [side for region in regions for side in (region.stored or region.bbox)[:2]]
        zeros, ones = begins.count(0), begins.count(1)
        seen = ""
        if first == 1 and zeros:
            seen = f"{zeros} sides of boxes begin at 0"
        elif first == 0 and not zeros and ones > max(2, len(begins) // 100):
            seen = f"{ones} sides of boxes begin at 1 and none at 0"
        if not seen:
            return self
        text = f"{seen}, but {option} counts pixels from {first}: if the boxes are counted from "
        return replace(self, warnings=(*self.warnings, f"{text}{1 - first}, all lie a pixel off"))

    def annotations(self) -> Annotations:
        """Return the set, cleaned."""
        annotations = annotations_of(
            self.images,
            source=self.source,
            classes=self.classes,
            category_ids=self.category_ids,
            ignored_reason=self.ignored_reason,
            warnings=self.warnings,
        )
        return replace(annotations, one_based=self.one_based, image_folder=self.image_folder)

    def divided(
        self, *, fractions: tuple[float, float, float], seed: int, group: str | None
    ) -> dict[str, "LabelledSet"]:
        """Return the set in parts by their names, drawn by the seed and stratified by class.

        The images of a part keep their order. Its warnings are left to the whole.

        Args:
            fractions: Of train, val and test.
            seed: See `draw_sides`.
            group: A regular expression that finds in a file name what stays together; None for
                images that can be parted.

        Raises:
            ValueError: If ``group`` finds nothing in a name, or there are too few groups.
        """
        homes = [group_of(i.file_name, group, option="group", what="image") for i in self.images]
        sizes: dict[str, int] = {}
        labels: dict[str, set[str]] = {}
        for home, image in zip(homes, self.images, strict=True):
            sizes[home] = sizes.get(home, 0) + 1
            labels.setdefault(home, set()).update(
                self.classes[region.label - 1] for region in image.regions if not region.ignored
            )
        try:
            sides = draw_sides(sizes, labels, fractions=fractions, seed=seed)
        except ValueError as error:
            what, more = "images", "Add images"
            if group is not None:
                what, more = f"groups that data.group={group!r} finds", "Add groups, change it"
            raise ValueError(
                f"{self.source}: the {what} are too few: {error} {more}, or set a fraction of 0 "
                "for the test."
            ) from error
        parts = {
            side: [i for i, home in zip(self.images, homes, strict=True) if sides[home] == side]
            for side in SIDES
        }
        return {
            side: replace(self, images=images, warnings=())
            for side, images in parts.items()
            if images
        }
