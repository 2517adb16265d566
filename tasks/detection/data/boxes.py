"""Clean boxes: the one place that decides which box is trained on and which is scored."""

from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.detection.data.annotations import Annotations, ImageRecord
from tasks.detection.data.raw_annotations import LabelledImage, LabelledSet

NO_AREA: Final = "no area"
NOT_FINITE: Final = "with NaN or infinity"
OUTLINED: Final = "drawn around their outlines"
TURNED: Final = "with corners put in order"
OUTSIDE: Final = "outside the image"
CLIPPED: Final = "clipped to the image"


def cleaned(found: LabelledSet) -> Annotations:
    """Return the cleaned annotations of a split; `Annotations.cleaned` counts what was changed.

    A box without area, not finite, or wholly outside its image is dropped from training and truth.
    Corners are put in order. A box over the edge is clipped for training, and stays as it is in the
    truth. An ignored region is in the truth only. Ids of the truth count from 1: 0 is pycocotools's
    "no match".
    """
    counts: Counter[str] = Counter()
    records: list[ImageRecord] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(found.images, start=1):
        record, kept = _clean(image, number, counts, found)
        records.append(record)
        annotations += kept
    truth = {
        "images": [
            {"id": r.image_id, "file_name": r.file_name, "height": r.height, "width": r.width}
            for r in records
        ],
        "annotations": [{"id": n, **one} for n, one in enumerate(annotations, start=1)],
        "categories": [
            {"id": number, "name": name}
            for number, name in zip(found.category_ids, found.classes, strict=True)
        ],
    }
    return Annotations(
        source=found.source,
        classes=tuple(found.classes),
        category_ids=tuple(found.category_ids),
        images=records,
        truth=truth,
        cleaned=dict(counts),
        one_based=found.one_based,
        image_folder=found.image_folder,
        warnings=tuple(found.warnings),
    )


def _clean(
    image: LabelledImage, number: int, counts: Counter[str], of: LabelledSet
) -> tuple[ImageRecord, list[dict[str, Any]]]:
    """Return what is trained on of an image, and the annotations that it is scored with."""
    regions, image_id = image.regions, number if image.image_id is None else image.image_id
    xywh = np.array([region.bbox for region in regions], np.float64).reshape(-1, 4)  # [B,4]
    ignored = np.array([region.ignored for region in regions], dtype=bool)
    outlined = np.array([region.outlined for region in regions], dtype=bool)
    with np.errstate(all="ignore"):  # NaN and infinity are cases here, not accidents
        corner, extent = xywh[:, :2], xywh[:, 2:]
        turned = (extent < 0).any(axis=1)
        xywh = np.concatenate([corner + np.minimum(extent, 0), np.abs(extent)], axis=1)
        boxes, clipped, fault = _clip(xywh, image.height, image.width)
    good = fault == ""
    trained = good & ~ignored
    counts.update(fault[~good].tolist())
    cases = {of.ignored_reason: ignored & good, OUTLINED: outlined & good, TURNED: turned & good}
    for reason, which in (cases | {CLIPPED: clipped & trained}).items():
        counts.update({reason: int(which.sum())} if which.any() else {})
    record = ImageRecord(
        path=image.path,
        image_id=image_id,
        height=image.height,
        width=image.width,
        boxes=boxes[trained],
        labels=np.array([region.label for region in regions], np.int64)[trained],
        file_name=image.file_name,
    )
    kept = [
        {
            "image_id": image_id,
            "category_id": of.category_ids[region.label - 1],
            "bbox": bbox,
            "area": bbox[2] * bbox[3] if region.area is None else region.area,
            "iscrowd": int(region.ignored),
        }
        for region, bbox, keep in zip(regions, xywh.tolist(), good, strict=True)
        if keep
    ]
    return record, kept


def _clip(
    xywh: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.str_]]:
    """Return clipped xyxy boxes, which of them clipping changed, and why a box cannot be used."""
    raw = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)  # [B,4]
    inside = np.clip(raw, 0, [width, height, width, height])  # [B,4]
    boxes = inside.astype(np.float32)
    clipped = (boxes != raw.astype(np.float32)).any(axis=1)
    not_finite = ~np.isfinite(raw).all(axis=1)
    empty = not_finite | ~_has_area(raw)
    # A box can also vanish in the rounding to float32, far from zero.
    vanished = ~_has_area(boxes)
    outside = ~empty & ~_has_area(np.nan_to_num(inside))
    fault = np.where(outside, OUTSIDE, np.where(empty | vanished, NO_AREA, ""))
    fault = np.where(not_finite, NOT_FINITE, fault)
    return boxes, clipped, fault


def _has_area(xyxy: NDArray[Any]) -> NDArray[np.bool_]:
    return (xyxy[:, 0] < xyxy[:, 2]) & (xyxy[:, 1] < xyxy[:, 3])  # [B]
