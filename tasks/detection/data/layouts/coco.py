"""Read a COCO annotation file."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.files.paths import existing_file, existing_folder, listed, name_here
from tasks.common.files.text import read_json
from tasks.common.options.limits import is_number
from tasks.common.report.advice import advice
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.boxes import cleaned
from tasks.detection.data.layouts.coco_segmentations import outline
from tasks.detection.data.raw_annotations import (
    LabelledImage,
    LabelledSet,
    Parts,
    Region,
    check_classes,
)

CROWD: Final = "crowd, kept for evaluation only"


def coco_parts(
    *,
    root: str | Path,
    train: str,
    val: str | None,
    test: str | None = None,
    train_images: str = "images",
    val_images: str | None = None,
    test_images: str | None = None,
    classes: Sequence[str] | None = None,
) -> Parts:
    """Return the splits of a data set with a COCO annotation file for each, or with one for all.

    Labels are those of the training file, or ``classes``. The other files are read with them,
    whatever their ids.

    Args:
        root: The folder that the other paths are relative to.
        train: Annotation file of the training split, or of all images.
        val: Annotation file of the validation split; None to divide the training file.
        test: Annotation file of the test split, if there is one.
        train_images: Image folder of the training split.
        val_images: Image folder of the validation split; None for that of the training split.
        test_images: Folder of the test images; None for that of training.
        classes: Class names that fix the labels, such as those of a checkpoint.
    """
    base = existing_folder(Path(root), what="root")
    parts = {"train": _labelled(base / train, base / train_images, classes=classes)}
    classes = parts["train"].classes
    for name, file, images in (("val", val, val_images), ("test", test, test_images)):
        if file is not None:
            folder = base / (images or train_images)
            parts[name] = _labelled(base / file, folder, classes=classes)
    return parts


def read_coco(
    annotation_file: Path, image_folder: Path, *, classes: Sequence[str] | None = None
) -> Annotations:
    """Return one split of a data set in COCO's format; ``classes`` fixes the labels.

    Otherwise labels are 1..K in the order of the category ids, which may have gaps; spaces around
    names do not count. Where ``bbox`` is missing, null or empty, the box is drawn around the
    polygons or run lengths of ``segmentation``, crowd or not. `cleaned` says what becomes of other
    boxes. No image file is read; see `check_images`.
    """
    return cleaned(_labelled(Path(annotation_file), Path(image_folder), classes=classes))


def _labelled(file: Path, image_folder: Path, *, classes: Sequence[str] | None) -> LabelledSet:
    existing_file(file, what="annotation file")
    existing_folder(image_folder, what="image folder")
    content = read_json(file)
    try:
        _check(content)
        names = _categories(content["categories"])
        chosen = [names[k] for k in sorted(names)] if classes is None else list(classes)
        stripped = [name.strip() for name in chosen]
        check_classes(stripped, list(names.values()))
        ids = {name: number for number, name in names.items()}
        category_ids = [ids[name] for name in stripped]
        images = _images(content["images"], image_folder)
        _place(content["annotations"], images, names, category_ids)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    labelled = LabelledSet(
        source=file,
        image_folder=image_folder,
        images=list(images.values()),
        classes=chosen,
        category_ids=category_ids,
        ignored_reason=CROWD,
    )
    return labelled.judged("xywh", first=0, option="COCO")


def _check(content: object) -> None:
    if not isinstance(content, dict):
        raise UserError(
            f"the file holds a {type(content).__name__}; expected an object with the keys images, "
            "annotations and categories. A file of detections is not a file of annotations."
        )
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            got = "missing" if key not in content else "not a list of objects"
            found = listed(sorted(content)) or "nothing"
            raise UserError(f"the key {key!r} is {got}; the file has {found}.")


def _categories(entries: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in entries:
        number, name = _integer(entry, "id", what="category"), entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"category {number}: name is {name!r}; expected a text.")
        name = name.strip()
        if number in names or name in names.values():
            raise UserError(f"category {number} ({name!r}) is there twice, by its id or its name.")
        names[number] = name
    if not names:
        raise UserError("the file has no categories; expected at least one.")
    return names


def _images(entries: Sequence[Mapping[str, Any]], folder: Path) -> dict[int, LabelledImage]:
    images: dict[int, LabelledImage] = {}
    for entry in entries:
        number, name = _integer(entry, "id", what="image"), entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise UserError(f"image {number}: file_name is {name!r}; expected a text.")
        if number in images:
            raise UserError(
                f"image id {number} is there twice: {images[number].file_name!r} and {name!r}."
            )
        what = f"image {number} ({name!r})"
        height, width = (_integer(entry, key, what=what) for key in ("height", "width"))
        if height <= 0 or width <= 0:
            raise UserError(f"{what}: {width}x{height} pixels; expected both above 0.")
        images[number] = LabelledImage(
            path=folder / name_here(folder, name),
            file_name=name,
            image_id=number,
            height=height,
            width=width,
            regions=[],
        )
    if not images:
        raise UserError("the file has no images; expected at least one.")
    return images


def _place(
    entries: Sequence[Mapping[str, Any]],
    images: Mapping[int, LabelledImage],
    names: Mapping[int, str],
    category_ids: Sequence[int],
) -> None:
    refused: Counter[str] = Counter()
    labels = {number: label for label, number in enumerate(category_ids, start=1)}
    for position, entry in enumerate(entries):
        what = f"annotation {entry.get('id', f'at position {position}')}"
        category, number = (_integer(entry, key, what=what) for key in ("category_id", "image_id"))
        if number not in images:
            raise UserError(
                f"{what}: image_id {number} is not the id of any of the {len(images)} images."
            )
        if category not in names:
            known = ", ".join(str(known) for known in sorted(names)[:10])
            raise UserError(
                f"{what}: category_id {category} is not the id of a category; there are {known}."
            )
        if category in labels:
            image = images[number]
            image.regions.append(_region(entry, labels[category], image, what=what))
        else:
            refused[names[category]] += 1
    if refused:
        found = ", ".join(f"{name!r} ({times})" for name, times in refused.items())
        raise UserError(
            "annotations of categories that are not "
            f"{advice('in classes', otherwise='classes of the checkpoint')}: {found}; expected "
            f"only {listed([names[k] for k in labels], limit=10)}. Remove them, or train with "
            "these too."
        )


def _region(entry: Mapping[str, Any], label: int, image: LabelledImage, *, what: str) -> Region:
    area, crowd = entry.get("area"), entry.get("iscrowd", 0)
    if area is not None and not (is_number(area) and 0 <= area < math.inf):
        raise UserError(f"{what}: area is {area!r}; expected a number of square pixels.")
    if crowd not in (0, 1):
        raise UserError(f"{what}: iscrowd is {crowd!r}; expected 0 or 1.")
    bbox: Any = entry.get("bbox")
    found, more = None, ""
    if bbox in (None, [], {}, "", [0, 0, 0, 0]):
        try:
            found = outline(entry.get("segmentation"), height=image.height, width=image.width)
        except UserError as error:
            raise UserError(f"{what} has no bbox, and its {error}") from error
        bbox, more = list(found.bbox) if found else bbox, ", and there is no segmentation"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        raise UserError(
            f"{what}: bbox is {bbox!r}{more}; expected 4 numbers [x, y, width, height]."
        )
    x, y, width, height = (float(value) for value in bbox)
    if area is None and found:
        area = found.area
    return Region(
        label=label,
        bbox=(x, y, width, height),
        ignored=bool(crowd),
        area=None if area is None else float(area),
        outlined=found is not None,
    )


def _integer(entry: Mapping[str, Any], key: str, *, what: str) -> int:
    """Return a whole number, which some tools write as 640.0."""
    value = entry.get(key)
    if not is_number(value) or not float(value).is_integer():
        raise UserError(f"{what}: {key} is {value!r}; expected a whole number.")
    return int(value)
