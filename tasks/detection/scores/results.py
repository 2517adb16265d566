"""Detections of any tool in COCO's results format, checked against the truth they are scored by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from backbones.errors import UserError
from tasks.common.files.paths import existing_file, listed
from tasks.common.files.text import read_json
from tasks.common.options.limits import is_finite
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.box_formats import judge
from tasks.detection.data.findings import with_repetitions
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.options import USUAL_LIMIT
from tasks.detection.scores.image_ids import parts_of, read_image_ids
from tasks.detection.scores.metrics import Result, coco_ap, needed

_KEYS: Final = ("image_id", "category_id", "bbox", "score")
_SHAPE: Final = (
    "expected a list of detections, each with image_id, category_id, bbox [x, y, width, height] "
    "and score"
)


def read_truth(annotations: Path) -> Annotations:
    """Return the annotations of a COCO file, whose images need not be there; see `read_coco`.

    Warnings name boxes that are there more than once, and images named twice.
    """
    if annotations.is_dir():
        raise UserError(
            f"{annotations} is a folder; detections of COCO's results format are scored with a "
            "COCO file, whose image ids they name. Pascal VOC has no such ids: convert it."
        )
    truth = read_coco(annotations, annotations.parent)
    return with_repetitions(truth, {record.path: str(record.path) for record in truth.images})


def read_results(path: Path, truth: Mapping[str, Any]) -> tuple[list[Result], list[str]]:
    """Return the detections of a file that fits the truth, and what is suspect about their boxes.

    Only ``image_id``, ``category_id``, ``bbox`` and ``score`` are read.
    """
    content = read_json(existing_file(path, what="file of results"))
    if not isinstance(content, list):
        keys = f" with the keys {listed(sorted(content))}" if isinstance(content, dict) else ""
        raise UserError(f"{path} holds a {type(content).__name__}{keys}; {_SHAPE}.")
    try:
        results = [_result(entry, f"detection {place}") for place, entry in enumerate(content)]
        _check_images(results, truth["images"])
        _check_categories(results, truth["categories"])
        _check_names(path, truth["images"])
        suspicions = _suspicions(results, truth["images"])
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return results, suspicions


def evaluate_results(
    path: Path, split: Annotations, *, limit: int | None
) -> tuple[dict[str, float], int, list[str], list[Result]]:
    """Return the scores of a results file, how many detections counted, notes, and detections.

    ``limit`` detections of a class count in an image; None for 100, or more where the truth has
    more.
    """
    counted = needed(split.truth) if limit is None else max(USUAL_LIMIT, limit)
    results, suspicions = read_results(path, split.truth)
    return coco_ap(split.truth, results, limit=counted), counted, suspicions, results


def _result(entry: object, what: str) -> Result:
    if not isinstance(entry, dict):
        raise UserError(f"{what} is {entry!r}; {_SHAPE}.")
    if missing := [key for key in _KEYS if key not in entry]:
        raise UserError(
            f"{what} lacks {listed(missing)}, it has {listed(sorted(entry))}; {_SHAPE}."
        )
    result = {key: entry[key] for key in _KEYS}
    bbox, score = result["bbox"], result["score"]
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite, bbox)):
        raise UserError(f"{what}: bbox is {bbox!r}; expected 4 numbers [x, y, width, height].")
    if bbox[2] < 0 or bbox[3] < 0:
        raise UserError(
            f"{what}: bbox is {bbox!r}, with a negative size; expected [x, y, width, height], not "
            "two corners."
        )
    if not is_finite(score):
        raise UserError(f"{what}: score is {score!r}; expected a number.")
    for key in ("image_id", "category_id"):
        if isinstance(result[key], list | dict) or result[key] is None:
            raise UserError(f"{what}: {key} is {result[key]!r}; expected an id.")
    return result


def _check_images(results: Sequence[Result], images: Sequence[Mapping[str, Any]]) -> None:
    known = {image["id"] for image in images}
    named = {result["image_id"] for result in results}
    unknown = sorted(named - known, key=str)
    if not unknown:
        return
    numbers = {Path(image["file_name"]).stem: image["id"] for image in images}
    first = Path(str(unknown[0])).stem
    reason = "Was the file made for another set?"
    if first in numbers:
        reason = f"{unknown[0]!r} is the file name of the image {numbers[first]!r}: give its id."
    elif str(unknown[0]) in set(map(str, known)):
        reason = f"the truth has the number {unknown[0]}, not the text: write ids as numbers."
    some = ", ".join(repr(number) for number in sorted(known, key=str)[:5])
    raise UserError(
        f"{len(unknown)} of {len(named)} images with detections are not among the {len(images)} of "
        f"the truth, such as {unknown[0]!r}; it has {some}. {reason}"
    )


def _check_categories(results: Sequence[Result], categories: Sequence[Mapping[str, Any]]) -> None:
    known = {category["id"]: category["name"] for category in categories}
    named = {result["category_id"] for result in results}
    if unknown := sorted(named - known.keys(), key=str):
        table = ", ".join(f"{number} {name!r}" for number, name in list(known.items())[:10])
        raise UserError(
            f"{len(unknown)} of {len(named)} categories are not among those of the truth: "
            f"{listed(unknown)}; it has {table}. Number the categories as the truth does (some "
            "tools count classes from 0)."
        )


def _check_names(path: Path, images: Sequence[Mapping[str, Any]]) -> None:
    """Raise if our own ``images.json`` beside the results has other names for the truth's ids.

    One of two equal names may have more folders in front.
    """
    beside = path.with_name("images.json")
    if path.name != "predictions.json" or not beside.is_file():
        return
    try:
        names = {number: name for name, number in read_image_ids(beside).items()}
    except ValueError:
        return
    for image in images:
        name = names.get(image["id"], image["file_name"])
        ours, its = parts_of(name), parts_of(image["file_name"])
        common = min(len(ours), len(its))
        if ours[-common:] != its[-common:]:
            raise UserError(
                f"the image {image['id']} is {name!r} in {beside}, but {image['file_name']!r} in "
                "the truth. Predict with --annotations, for the ids of the truth."
            )


def _suspicions(results: Sequence[Result], images: Sequence[Mapping[str, Any]]) -> list[str]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    numbers = np.array([result["bbox"] for result in results], np.float64).reshape(-1, 4)
    of_each = np.array([sizes[result["image_id"]] for result in results], np.float64)
    return judge(numbers, of_each.reshape(-1, 2), stored="xywh")
