"""Images with more boxes than can be found, which no training mends."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasks.detection.options import USUAL_LIMIT


def crowded(
    truth: Mapping[str, Any], *, found: int, remedy: str = "model.detections_per_image="
) -> str:
    """Return a sentence if images have more boxes than the ``found`` a detector returns, or "".

    ``remedy`` is the option that raises it.
    """
    over = [count for count in _boxes(truth, "image_id").values() if count > found]
    if not over:
        return ""
    return (
        f"{len(over)} of {len(truth['images'])} images have more boxes (up to {max(over)}) than "
        f"the {found} that are found in an image at most, so their recall cannot reach 1; set "
        f"{remedy}{max(over)}"
    )


def needed(truth: Mapping[str, Any]) -> int:
    """Return how many detections of a class in an image must count, at least COCO's 100."""
    return max([USUAL_LIMIT, *_boxes(truth, "image_id", "category_id").values()])


def _boxes(truth: Mapping[str, Any], *keys: str) -> Counter[tuple[Any, ...]]:
    """Return how many boxes share these values, without crowd regions."""
    entries = (entry for entry in truth["annotations"] if not entry["iscrowd"])
    return Counter(tuple(entry[key] for key in keys) for entry in entries)
