"""What a run's folder keeps of its test, image by image: the truth and every detection."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tasks.common.data.splits import group_of
from tasks.common.report.run_folder import write_json
from tasks.detection.scores.metrics import Result

KEPT: Final = "scored"
"""The folder in that of a run."""

TRUTH: Final = "truth.json"
FOUND: Final = "predictions.json"


def write_kept(
    folder: Path,
    truth: Mapping[str, Any],
    results: Mapping[int, Sequence[Result]],
    *,
    group: str | None = None,
) -> None:
    """Write ``truth.json`` and ``predictions.json``, from which the scores can be made again.

    The first is a COCO annotation file of the scored split as it was scored: cleaned, with crowd
    regions, and with the images' names of the data set, relative to its folder of images. An image
    has a ``group`` too if there is a pattern for it (``data.group``), such as its patient. The
    second has the detections ``results``, by image id, in COCO's results format and in the order of
    the ids. Both are complete or not there.
    """
    images = truth["images"]
    if group is not None:
        names = [image["file_name"] for image in images]
        groups = [group_of(name, group, option="group", what="image") for name in names]
        images = [{**image, "group": one} for image, one in zip(images, groups, strict=True)]
    found = [one for image_id in sorted(results) for one in results[image_id]]
    # One line: thousands of images have as many numbers as take minutes to indent.
    write_json(folder / TRUTH, {**truth, "images": images}, indent=None)
    write_json(folder / FOUND, found, indent=None)
