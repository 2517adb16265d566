"""Read Ultralytics YOLO's layout, https://docs.ultralytics.com/datasets/detect."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from PIL import Image as Pillow

from backbones.errors import UserError
from tasks.common.data.splits import SIDES
from tasks.common.files.paths import (
    IMAGE_SUFFIXES,
    contents,
    existing_folder,
    files_below,
    listed,
    name_here,
)
from tasks.common.files.text import read_text
from tasks.common.images.orientation import TAG, UPRIGHT, valid
from tasks.detection.data.images import stored_image
from tasks.detection.data.raw_annotations import (
    Box,
    LabelledImage,
    LabelledSet,
    Parts,
    Region,
    check_classes,
)

_MISSING: Final = "images have no label file and count as images without objects"
_EMPTY: Final = "images have an empty label file and count as images without objects"
_REPEATED: Final = "lines of label files repeat another and are left out"
_ODD: Final = (_MISSING, _EMPTY, _REPEATED)  # in the order of the warnings
_SLACK: Final = 0.01  # of the image's side, by which rounding may leave it


def yolo_parts(*, root: str | Path, classes: Sequence[str] | None = None) -> Parts:
    """Return the splits that a ``data.yaml`` names.

    ``train``, ``val`` and ``test`` are each a folder of images, a text file that lists images, or a
    list of these, relative to ``path`` or to the folder of ``data.yaml``. The labels of
    ``images/a.jpg`` are in ``labels/a.txt``, where the last ``images`` folder of the path counts; a
    line is ``class cx cy w h`` or ``class x1 y1 x2 y2 ...``, a polygon that is reduced to its box,
    in shares of the upright image. An empty or missing file means an image without objects.
    Repeated lines are left out.

    Args:
        root: ``data.yaml``, or its folder.
        classes: Class names that fix the labels; None for all of ``names``, in its order.
    """
    described = _described(Path(root))
    chosen = described.names if classes is None else [name.strip() for name in classes]
    try:
        check_classes(chosen, described.names)
    except UserError as error:
        raise UserError(f"{described.file}: {error}") from error
    labels = {described.names.index(name): label for label, name in enumerate(chosen, start=1)}
    return {
        split: _labelled(described, split, chosen, labels)
        for split in SIDES
        if split in described.splits
    }


@dataclass(frozen=True)
class _Description:
    file: Path
    bases: list[Path]  # that paths may be relative to, the likeliest first
    names: list[str]
    splits: dict[str, list[str]]

    def images(self, split: str) -> list[Path]:
        """Return the image files of a split, each once."""
        found: list[Path] = []
        for entry in self.splits[split]:
            place = self._existing(entry)
            if place is None:
                raise FileNotFoundError(
                    f"{self.file}: {split} is {entry!r}, which does not exist below "
                    f"{listed([str(base) for base in self.bases])}. {contents(self.bases[0])}"
                )
            if place.is_file():
                lines = [line.strip() for line in read_text(place).splitlines()]
                found += (self._listed(line, place.parent) for line in lines if line)
            else:
                found += files_below(place, suffixes=IMAGE_SUFFIXES)
        if not found:
            raise UserError(f"{self.file}: {split} has no images; expected at least one.")
        return list(dict.fromkeys(found))

    def _existing(self, entry: str) -> Path | None:
        # Roboflow writes ../train/images for the folder beside data.yaml.
        tries = [base / name for base in self.bases for name in (entry, entry.removeprefix("../"))]
        return next((place for place in tries if place.exists()), None)

    def _listed(self, line: str, folder: Path) -> Path:
        """Return an image of a list; its path is relative to the list, or to where others are."""
        tries = [base / name_here(base, line) for base in (*self.bases, folder)]
        return next((path for path in tries if path.is_file()), tries[0])


def _described(root: Path) -> _Description:
    file = root if root.is_file() else _find_yaml(existing_folder(root, what="root"))
    try:
        values: Any = OmegaConf.to_container(OmegaConf.create(read_text(file)))
    except Exception as error:  # YAML's parser has a dozen
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or "names" not in values:
        raise UserError(f"{file}: no names; expected the names of the classes, by index.")
    if "kpt_shape" in values:
        raise UserError(f"{file}: kpt_shape says that labels are key points; expected boxes.")
    splits = {split: _strings(values.get(split), split, file) for split in SIDES}
    splits["val"] = splits["val"] or _strings(values.get("validation"), "validation", file)
    if not splits["train"]:
        raise UserError(f"{file}: no train; expected the folder of the training images.")
    given = file.parent / str(values.get("path") or "")
    bases = [given, file.parent] if given.is_dir() and given != file.parent else [file.parent]
    names = _names(values["names"], values.get("nc"), file)
    return _Description(file, bases, names, {k: paths for k, paths in splits.items() if paths})


def _find_yaml(folder: Path) -> Path:
    there = sorted(file for end in ("yaml", "yml") for file in folder.glob(f"*.{end}"))
    found = [file for file in there if file.stem == "data"] or there
    if len(found) != 1:
        raise FileNotFoundError(
            f"{str(folder)!r} has {len(found) or 'no'} YAML files; expected data.yaml. Give its "
            f"path as data.root. {contents(folder)}"
        )
    return found[0]


def _strings(value: object, key: str, file: Path) -> list[str]:
    """Return one or more paths as a list; nothing for none."""
    given = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str) and item for item in given):
        raise UserError(f"{file}: {key} is {value!r}; expected a path, or a list of paths.")
    return [str(item) for item in given]


def _names(value: object, count: object, file: Path) -> list[str]:
    table = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(table, Mapping) or not table:
        raise UserError(f"{file}: names is {value!r}; expected a list, or a table by index.")
    by_index = {str(index): name for index, name in table.items()}
    if set(by_index) != {str(index) for index in range(len(table))}:
        raise UserError(
            f"{file}: names has the indices {listed(sorted(by_index))}; expected each from 0 to "
            f"{len(table) - 1}."
        )
    names = [by_index[str(index)] for index in range(len(table))]
    if wrong := [name for name in names if isinstance(name, bool) or name in (None, "")]:
        raise UserError(f"{file}: names has {wrong[0]!r}; expected a text. Put it in quotes.")
    texts = [str(name).strip() for name in names]
    if twice := [name for name in texts if texts.count(name) > 1]:
        raise UserError(f"{file}: names has {twice[0]!r} more than once.")
    if count is not None and count != len(texts):
        raise UserError(f"{file}: nc is {count!r}, but names has {len(texts)} names.")
    return texts


def _labelled(
    described: _Description, split: str, classes: Sequence[str], labels: Mapping[int, int]
) -> LabelledSet:
    base, counts = described.bases[0], Counter[str]()
    images: list[LabelledImage] = []
    for path in described.images(split):
        width, height = _size(path)
        regions = [
            Region(label=labels[index], bbox=(x * width, y * height, w * width, h * height))
            for index, (x, y, w, h) in _objects(_label_file(path), described.names, labels, counts)
        ]
        name = path.relative_to(base) if path.is_relative_to(base) else path
        images.append(
            LabelledImage(
                path=path, file_name=name.as_posix(), height=height, width=width, regions=regions
            )
        )
    if counts[_MISSING] == len(images):
        expected = _label_file(images[0].path)
        raise UserError(
            f"{described.file}: none of the {len(images)} images of {split} has a label file; "
            f"expected such as {str(expected)!r}. {contents(expected)}"
        )
    labelled = LabelledSet(
        source=described.file.parent,
        image_folder=base,
        images=images,
        classes=list(classes),
        category_ids=range(1, len(classes) + 1),
    )
    warnings = [f"{counts[text]} {text}" for text in _ODD if counts[text]]
    return labelled.with_warnings(*warnings)


def _label_file(image: Path) -> Path:
    """Return where the labels of an image are: below ``labels`` for the last ``images``."""
    before, images, after = image.as_posix().rpartition("/images/")
    return Path(f"{before}/labels/{after}" if images else after).with_suffix(".txt")


def _size(path: Path) -> tuple[int, int]:
    """Return width and height of the upright image; 1 x 1 if `check_images` will refuse it."""
    try:
        with Pillow.open(path) as image:
            width, height = image.size
            turned = valid(image.getexif().get(TAG, UPRIGHT)) > 4
    except OSError:  # also of what is no file of Pillow's
        try:
            pixels, orientation = stored_image(path, in_channels=3)
        except (OSError, ValueError):
            return 1, 1
        height, width = pixels.shape[:2]
        turned = orientation > 4
    return (height, width) if turned else (width, height)


def _objects(
    file: Path, names: Sequence[str], labels: Mapping[int, int], counts: Counter[str]
) -> Iterator[tuple[int, Box]]:
    """Yield the class index and the box (x, y, w, h, in shares of the image) of each line."""
    if not file.is_file():
        counts[_MISSING] += 1
        return
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = _values(line.split())
            index = _index(values[0], names, labels)
        except UserError as error:
            raise UserError(f"{file}: line {number}: {error}.") from error
        counts[_REPEATED] += values in seen
        if values not in seen:
            seen.add(values)
            yield index, _box(values[1:])
    counts[_EMPTY] += not seen


def _values(words: Sequence[str]) -> tuple[float, ...]:
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise UserError(
            f"{len(words)} columns; expected 5 (class cx cy w h), or the class and at least 3 "
            "points of a polygon"
        )
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        raise UserError(f"{' '.join(words)[:60]!r} has a word; expected numbers") from None
    if wrong := [value for value in values if not math.isfinite(value)]:
        raise UserError(f"a number is {wrong[0]}; expected finite ones")
    if wrong := [value for value in values[1:] if not -_SLACK <= value <= 1 + _SLACK]:
        raise UserError(
            f"a coordinate is {wrong[0]:g}; expected shares of the image from 0 to 1. Divide "
            "pixels by its width and height"
        )
    return values


def _index(value: float, names: Sequence[str], labels: Mapping[int, int]) -> int:
    if not value.is_integer() or not 0 <= value < len(names):
        raise UserError(f"the class is {value:g}; expected 0 to {len(names) - 1}")
    if int(value) not in labels:
        raise UserError(
            f"an object of {names[int(value)]!r}; expected only data.classes. Remove such "
            "objects, or add the class"
        )
    return int(value)


def _box(numbers: Sequence[float]) -> Box:
    """Return x, y, width and height of a box by its centre, or of the points of a polygon."""
    if len(numbers) == 4:
        cx, cy, width, height = numbers
        return cx - width / 2, cy - height / 2, width, height
    left, top = min(numbers[::2]), min(numbers[1::2])
    return left, top, max(numbers[::2]) - left, max(numbers[1::2]) - top
