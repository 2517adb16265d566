"""Find the files of Pascal VOC's layout: the XML file and the image of each name."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unicodedata import normalize

from backbones.errors import UserError
from tasks.common.data.splits import SIDES
from tasks.common.files.paths import (
    IMAGE_SUFFIXES,
    contents,
    existing_folder,
    files_below,
    hint,
    listed,
)
from tasks.common.files.text import read_text

WHOLE: Final = ("trainval", "default")  # lists of images that are still to be split
_FLAG: Final = re.compile(r"\s+(-1|0|1)$")  # the second column of the files of one class
_TWO_PATHS: Final = re.compile(r"\s+(\S+\.xml)$", re.IGNORECASE)


class _Index:
    """Files below a folder by every name that may refer to them."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._stages: list[dict[str, list[Path]]] = [{}, {}, {}, {}]
        for file in files:
            path = normalize("NFC", file.relative_to(folder).as_posix())
            stem = path[: -len(file.suffix)]
            for stage, name in enumerate((path, stem, _bare(stem), _bare(stem).rpartition("/")[2])):
                self._stages[stage].setdefault(name, []).append(file)

    def find(self, name: str) -> list[Path]:
        """Return the files of a name, those that it fits best; leading folders may be others."""
        name = normalize("NFC", name.replace("\\", "/")).removeprefix("./")
        parts = name.split("/")
        tails = ["/".join(parts[first:]) for first in range(len(parts))]
        for tail in tails:
            for stage in self._stages[:3]:
                for spelt in (tail, _bare(tail), _bare(_bare(tail))):
                    if spelt in stage:
                        return stage[spelt]
        return self._stages[3].get(_bare(_bare(parts[-1])), [])


def _bare(name: str) -> str:
    """Return a name without the suffix of an image or of XML."""
    lower = name.lower()
    suffix = next((end for end in (*IMAGE_SUFFIXES, ".xml") if lower.endswith(end)), "")
    return name[: len(name) - len(suffix)]


def _in_other_folders(one: str, other: str) -> bool:
    """Return whether two lines name different folders; a line without any may be of each."""
    paths = [line.replace("\\", "/").removeprefix("./").split("/")[:-1] for line in (one, other)]
    common = min(map(len, paths))
    return common > 0 and paths[0][-common:] != paths[1][-common:]


class VocFiles:
    """The XML files and the images in and below their folders, without hidden files."""

    def __init__(self, annotations: Path, images: Path) -> None:
        self.folder = existing_folder(annotations, what="annotation folder")
        self.images = existing_folder(images, what="image folder")
        self.files = files_below(annotations, suffixes=(".xml",))
        if not self.files:
            raise UserError(
                f"{annotations}: no XML files; {contents(annotations)} Expected one per image."
            )
        self._annotations = _Index(annotations, self.files)
        self._pictures = _Index(images, files_below(images, suffixes=IMAGE_SUFFIXES))

    def named(self, lines: Iterable[str], *, where: str) -> list[Path]:
        """Return the XML files that a list named ``where`` names, each once, in its order.

        A line is a path with or without suffix, whose folders need not be those here. A last column
        of -1, 0 or 1 is removed if no file has the whole line as its name.
        """
        found: dict[Path, str] = {}
        missing, total = [], 0
        for line in lines:
            total += 1
            files = self._of_line(line)
            if len(files) > 1:
                both = [str(file.relative_to(self.folder)) for file in files]
                raise UserError(
                    f"{where}: {line!r} stands for {len(files)} files below {str(self.folder)!r}: "
                    f"{listed(both)}. Write the path from that folder on."
                )
            for file in files:
                other = found.setdefault(file, line)
                if _in_other_folders(other, line):
                    raise UserError(
                        f"{where}: {other!r} and {line!r} both stand for "
                        f"{str(file.relative_to(self.folder))!r} below {str(self.folder)!r}, the "
                        "only file of this name; add the missing one, or remove a line."
                    )
            missing += [] if files else [_FLAG.sub("", line)]
        if missing:
            stems = [file.stem for file in self.files]
            raise FileNotFoundError(
                f"{where}: {len(missing)} of {total} annotation files do not exist below "
                f"{str(self.folder)!r}: {listed(missing)}{hint(missing[0], stems)}. "
                f"{contents(self.folder)}"
            )
        if not found:
            raise UserError(f"{where}: names is empty. Expected at least one image in a split.")
        return list(found)

    def by_split(self) -> dict[str, list[Path]]:
        """Return the files by their first folders, where those are splits; else all as train."""
        parts: dict[str, list[Path]] = {}
        for file in self.files:
            first, *below = file.relative_to(self.folder).parts
            split = {"valid": "val"}.get(first.lower(), first.lower()) if below else ""
            parts.setdefault(split, []).append(file)
        if not {"train", "val"} <= set(parts) <= set(SIDES):
            return {"train": self.files}
        return {split: parts[split] for split in SIDES if split in parts}

    def _of_line(self, line: str) -> list[Path]:
        second = _TWO_PATHS.search(line)
        spellings = (line, _FLAG.sub("", line), *([second[1]] if second else []))
        return next((files for name in spellings if (files := self._annotations.find(name))), [])

    def picture(self, file: Path, file_name: str) -> Path:
        """Return the image of an XML file: by its name, then by its ``<filename>``.

        Without any it is ``a.jpg``, which `check_images` will miss.
        """
        key = file.relative_to(self.folder).as_posix()[: -len(file.suffix)]
        found = self._pictures.find(key) or (self._pictures.find(file_name) if file_name else [])
        if len({path.parent for path in found}) > 1:
            both = [str(path.relative_to(self.images)) for path in found]
            raise UserError(
                f"{file}: {len(found)} images below {str(self.images)!r} have its name: "
                f"{listed(both)}. Put the XML files in folders of the same names."
            )
        base = file_name.replace("\\", "/").rpartition("/")[2]
        same = [path for path in found if path.name == base]
        return next(iter([*same, *found]), self.images / f"{_bare(key)}.jpg")


@dataclass(frozen=True, kw_only=True)
class ImageSets:
    """The names in each list of ``folder``, by that of the list: those of `SIDES` and `WHOLE`.

    ``repeated`` has a sentence on each list that has names more than once.
    """

    lists: dict[str, list[str]]
    folder: Path
    repeated: dict[str, str]

    def by_split(self) -> dict[str, str]:
        """Return which list is which split; a list of all images is train, still to be divided."""
        given = [name for name, lines in self.lists.items() if lines]
        if "train" in given and "val" in given:
            return {split: split for split in SIDES if split in given}
        whole = next((name for name in WHOLE if name in given), None)
        if not self.lists:
            return {}
        if whole is None or "train" in given or "val" in given:
            raise UserError(
                f"{self.folder}: names for {listed(given)} only; expected train.txt and "
                "val.txt, or trainval.txt. Add what is missing, or remove the lists to split all "
                "images at random."
            )
        return {"train": whole} | ({"test": "test"} if "test" in given else {})


def read_image_sets(root: Path) -> ImageSets:
    """Return the lists in ``ImageSets/Main`` or ``ImageSets``, without comments (``#``)."""
    folder = root / "ImageSets"
    main = folder / "Main"
    folder = main if files_below(main, suffixes=(".txt",)) else folder
    lists: dict[str, list[str]] = {}
    repeated: dict[str, str] = {}
    there = [file for file in files_below(folder, suffixes=(".txt",)) if file.parent == folder]
    by_name = {file.stem.lower(): file for file in there}
    for name in [name for name in (*SIDES, *WHOLE) if name in by_name]:
        lines = [line.strip() for line in read_text(by_name[name]).splitlines()]
        names = [line for line in lines if line and not line.startswith("#")]
        lists[name] = list(dict.fromkeys(names))
        if twice := len(names) - len(lists[name]):
            file = by_name[name].name
            repeated[name] = f"{file} names {twice} images again: each is taken once"
    if there and not lists:
        raise UserError(
            f"{folder} has the lists {listed([file.name for file in there])}; expected train.txt "
            "and val.txt, or trainval.txt. Rename them, or remove the folder to split at random."
        )
    return ImageSets(lists=lists, folder=folder, repeated=repeated)
