"""Clean boxes: the one place that decides which box is learnt and which is scored.

Every reader turns its file format into `LabelledImage` and calls `annotations_of`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.detection.data.annotations import Annotations, ImageRecord

NO_AREA: Final = "no area"
NOT_FINITE: Final = "with NaN or infinity"
OUTLINED: Final = "drawn around their outlines"
TURNED: Final = "with corners put in order"
OUTSIDE: Final = "outside the image"
CLIPPED: Final = "clipped to the image"


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One annotated object, as its file says.

    Attributes:
        label: In 1..K.
        bbox: x, y, width, height in pixels, from the left and upper edge of the image. A box that
            was drawn from right to left has a negative width.
        ignored: Scored as a COCO crowd region (detections on it count neither for nor against)
            and not learnt.
        area: In square pixels; None for that of the box. It sorts objects into small, medium
            and large when they are scored.
        stored: The four numbers as the file has them, which tell its format; None for ``bbox``.
        outlined: Whether the file has no box, and this one was drawn around the outline.
    """

    label: int
    bbox: tuple[float, float, float, float]
    ignored: bool = False
    area: float | None = None
    stored: tuple[float, float, float, float] | None = None
    outlined: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledImage:
    """One image and its regions, before cleaning.

    Attributes:
        path: The image file.
        file_name: Its name as the data set gives it.
        image_id: Its id in the data set's own numbering.
        height: In pixels.
        width: In pixels.
        regions: What is annotated, in the order of the file; readers append to it.
    """

    path: Path
    file_name: str
    image_id: int
    height: int
    width: int
    regions: list[Region]


def annotations_of(
    images: Sequence[LabelledImage],
    *,
    source: Path,
    classes: Sequence[str],
    category_ids: Sequence[int],
    ignored_reason: str,
    warnings: Sequence[str] = (),
) -> Annotations:
    """Return the cleaned annotations of a split.

    A box without area, with NaN or infinity in it, or wholly outside its image is dropped from
    both training and truth. The corners of one with a negative size are put in order. One that
    reaches over the edge is clipped for training and stays as
    it is in the truth. An ignored region is in the truth only. Each case is counted in
    `Annotations.cleaned`; a reason that never occurred has no entry.

    Ids of the truth's annotations are new, from 1: pycocotools takes id 0 for "no match".

    Args:
        images: All images of the split, those without regions included.
        source: The file or folder they were read from.
        classes: Names of the K classes.
        category_ids: The data set's own id of each class, in the same order.
        ignored_reason: The key of `Annotations.cleaned` that counts ignored regions.
        warnings: What the reader has to say, a sentence each.
    """
    counts: Counter[str] = Counter()
    records: list[ImageRecord] = []
    annotations: list[dict[str, Any]] = []
    for image in images:
        record, kept = _clean(image, counts, ignored_reason)
        records.append(record)
        for region in kept:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.image_id,
                    "category_id": category_ids[region.label - 1],
                    "bbox": list(region.bbox),
                    "area": region.bbox[2] * region.bbox[3] if region.area is None else region.area,
                    "iscrowd": int(region.ignored),
                }
            )
    truth = {
        "images": [
            {"id": i.image_id, "file_name": i.file_name, "height": i.height, "width": i.width}
            for i in images
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name} for number, name in zip(category_ids, classes, strict=True)
        ],
    }
    return Annotations(
        source=source,
        classes=tuple(classes),
        category_ids=tuple(category_ids),
        images=records,
        truth=truth,
        cleaned=dict(counts),
        warnings=tuple(warnings),
    )


def _in_order(region: Region) -> Region:
    """Return a region whose box begins at its left upper corner."""
    x, y, width, height = region.bbox
    left, top = x + min(width, 0), y + min(height, 0)
    return replace(region, bbox=(left, top, abs(width), abs(height)))


def _clean(
    image: LabelledImage, counts: Counter[str], ignored_reason: str
) -> tuple[ImageRecord, list[Region]]:
    """Return what is learnt from an image, and the regions that it is scored with."""
    turned = np.array([min(region.bbox[2:]) < 0 for region in image.regions], dtype=bool)
    regions = [
        _in_order(region) if odd else region
        for region, odd in zip(image.regions, turned, strict=True)
    ]
    boxes, clipped, fault = _clip([region.bbox for region in regions], image.height, image.width)
    ignored = np.array([region.ignored for region in regions], dtype=bool)
    learnt = (fault == "") & ~ignored
    counts.update(str(reason) for reason in fault[fault != ""])
    counts.update({ignored_reason: n} if (n := int((ignored & (fault == "")).sum())) else {})
    outlined = np.array([region.outlined for region in regions], dtype=bool)
    counts.update({OUTLINED: n} if (n := int((outlined & (fault == "")).sum())) else {})
    counts.update({TURNED: n} if (n := int((turned & (fault == "")).sum())) else {})
    counts.update({CLIPPED: n} if (n := int((clipped & learnt).sum())) else {})
    record = ImageRecord(
        path=image.path,
        image_id=image.image_id,
        height=image.height,
        width=image.width,
        boxes=boxes[learnt],
        labels=np.array([region.label for region in regions], dtype=np.int64)[learnt],
        file_name=image.file_name,
    )
    return record, [region for region, reason in zip(regions, fault, strict=True) if not reason]


def _clip(
    bboxes: Sequence[tuple[float, float, float, float]], height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.str_]]:
    """Return clipped xyxy boxes, which of them clipping changed, and why a box is of no use."""
    xywh = np.asarray(bboxes, dtype=np.float64).reshape(-1, 4)  # [B,4]
    with np.errstate(all="ignore"):  # NaN and infinity are cases here, not accidents
        raw = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)  # [B,4]
        inside = np.clip(raw, 0, [width, height, width, height])  # [B,4]
        boxes = inside.astype(np.float32)
        clipped = (boxes != raw.astype(np.float32)).any(axis=1)
        lost = ~np.isfinite(raw).all(axis=1)
        empty = lost | ~_has_area(raw)
        # A box can also vanish in the rounding to float32, far from zero.
        vanished = ~_has_area(boxes)
    outside = ~empty & ~_has_area(np.nan_to_num(inside))
    fault = np.where(outside, OUTSIDE, np.where(empty | vanished, NO_AREA, ""))
    fault = np.where(lost, NOT_FINITE, fault)
    return boxes, clipped, fault


def _has_area(xyxy: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each box whether ``x1 < x2`` and ``y1 < y2``."""
    return (xyxy[:, 0] < xyxy[:, 2]) & (xyxy[:, 1] < xyxy[:, 3])  # [B]
