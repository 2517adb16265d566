"""AP by the size of objects: in pixels, as COCO has it, and as a share of the image."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tasks.detection.scores.coco_eval import Evaluation, Matched, accumulate, match
from tasks.detection.scores.metrics import Result, mean_known

_SIDE: Final = 640  # pixels of an image's side, where COCO's limits of 32 and 96 are 5 and 15 %
IN_PIXELS: Final = ("under 32 x 32 px", "32 x 32 to 96 x 96 px", "over 96 x 96 px")
IN_SHARES: Final = ("under 5 %", "5 to 15 %", "over 15 %")


@dataclass(frozen=True, kw_only=True)
class SizeRow:
    """A range of sizes; NaN where no true box is in it."""

    name: str
    boxes: int
    ap: float
    ar: float


def size_rows(
    evaluation: Evaluation, matched: Matched, names: Sequence[str] = IN_PIXELS
) -> list[SizeRow]:
    """Return COCO's three ranges of areas; a box on the border is in both."""
    counts = (~matched.targets.ignored).sum(0)
    return [
        SizeRow(
            name=name,
            boxes=int(counts[area]),
            ap=mean_known(evaluation.precision[..., area]),
            ar=mean_known(evaluation.recall[..., area, -1]),
        )
        for area, name in enumerate(names, start=1)
    ]


def share_rows(truth: Mapping[str, Any], results: Sequence[Result], *, limit: int) -> list[SizeRow]:
    """Return three ranges of an object's side as a share of its image's side.

    Side is the root of the area, so that every image is treated as if it had 640 x 640 pixels.
    """
    factors = {
        image["id"]: _SIDE / math.sqrt(image["width"] * image["height"])
        for image in truth["images"]
    }
    annotations = [
        {**_scaled(entry, factors), "area": entry["area"] * factors[entry["image_id"]] ** 2}
        for entry in truth["annotations"]
    ]
    alike = {**truth, "annotations": annotations}
    found = [_scaled(entry, factors) for entry in results]
    matched = match(alike, found, limit=limit)
    return size_rows(accumulate(matched, limit=limit), matched, IN_SHARES)


def _scaled(entry: Mapping[str, Any], factors: Mapping[Any, float]) -> dict[str, Any]:
    factor = factors[entry["image_id"]]
    return {**entry, "bbox": [factor * number for number in entry["bbox"]]}
