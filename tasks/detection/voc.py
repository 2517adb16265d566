"""Read folders of Pascal-VOC XML files, and split them."""

import hashlib
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tasks.common.paths import IMAGE_SUFFIXES, contents, existing_folder, hint, listed
from tasks.detection.annotations import Annotations
from tasks.detection.boxes import LabelledImage, Region, annotations_of

DIFFICULT: Final = "difficult, kept for evaluation only"
SPLITS: Final = ("train", "val", "test")


def read_voc(
    annotation_folder: Path,
    image_folder: Path,
    *,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    one_based: bool = True,
) -> Annotations:
    """Return one split of a data set in Pascal VOC's format: an XML file per image.

    VOC counts pixels from 1, and its ``xmax, ymax`` are the last pixels inside. The box in the
    coordinates used here, with 0 as the left edge of the image, is therefore
    ``(xmin - 1, ymin - 1, xmax, ymax)``, as in detectron2. A box with ``xmax <= xmin`` or
    ``ymax <= ymin`` is a stray click and dropped. An object marked ``difficult`` is not learnt and
    scored like a COCO crowd region: finding it is neither rewarded nor punished.

    The image of ``a.xml`` is the file in ``image_folder`` with the same stem; where there is none
    it is ``a.jpg``, which `check_images` then finds missing. Images are numbered from 1 in the
    order of their names, classes as well.

    Args:
        annotation_folder: Where the XML files are, such as ``VOC2007/Annotations``.
        image_folder: Where the images are, such as ``VOC2007/JPEGImages``.
        names: Stems of the files of this split; None for all.
        classes: Class names that fix the labels: label k is ``classes[k - 1]``. Pass those of
            the training split, or of a checkpoint. None for those that occur, sorted.
        one_based: As VOC counts. False for tools that write 0-based coordinates, whose
            ``xmax, ymax`` are then the right and lower edge.

    Raises:
        FileNotFoundError: If a folder or an XML file of ``names`` is missing.
        ValueError: If a file is not XML or declares a document type (which could pull in other
            files), lacks its size, a name or a coordinate, or has a class that is not in
            ``classes``; if no object says what the classes are. With the file and the value.
    """
    folder = existing_folder(Path(annotation_folder), what="annotation folder")
    existing_folder(Path(image_folder), what="image folder")
    files = _xml_files(folder, names)
    objects = {file: _parse(file) for file in files}
    chosen = _classes(objects, classes)
    pictures = _pictures(Path(image_folder), files)
    images = []
    for number, (file, root) in enumerate(objects.items(), start=1):
        try:
            height, width = (_pixels(root, key) for key in ("height", "width"))
            regions = [
                _region(item, chosen, one_based=one_based) for item in root.findall("object")
            ]
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        images.append(
            LabelledImage(
                path=pictures[file],
                file_name=pictures[file].name,
                image_id=number,
                height=height,
                width=width,
                regions=regions,
            )
        )
    annotations = annotations_of(
        images,
        source=folder,
        classes=chosen,
        category_ids=range(1, len(chosen) + 1),
        ignored_reason=DIFFICULT,
    )
    return replace(annotations, one_based=one_based)


def read_image_sets(root: Path) -> dict[str, list[str]]:
    """Return the names in ``ImageSets/Main/{train,val,test}.txt`` by split, if there are such.

    Args:
        root: The folder that holds ``ImageSets``; without it the answer is empty.
    """
    sets = {}
    for split in SPLITS:
        file = root / "ImageSets" / "Main" / f"{split}.txt"
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            # Files of one class have a second column, 1 or -1.
            sets[split] = [line.split()[0] for line in lines if line.strip()]
    return sets


def split_names(
    names: Iterable[str], *, fractions: tuple[float, float, float], seed: int
) -> dict[str, list[str]]:
    """Return a split of names into train, val and test that depends on the seed alone.

    The order of ``names`` does not matter, nor does the version of any random number generator:
    names are ordered by a hash of the seed and the name.

    Args:
        names: What to split, such as file stems; each once.
        fractions: Of train, val and test; in [0, 1], with the sum 1. A split with a fraction
            above 0 gets at least one name.
        seed: Another seed gives another split.

    Raises:
        ValueError: If the fractions are not as said, a name repeats, or there are fewer names
            than splits.

    Example:
        >>> split_names("abcdef", fractions=(0.5, 0.5, 0.0), seed=0)["test"]
        []
    """
    if (
        len(fractions) != 3
        or min(fractions) < 0
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise ValueError(
            f"fractions are {tuple(fractions)}; expected 3 from 0 to 1 with the sum 1."
        )
    pool = list(names)
    if len(set(pool)) != len(pool):
        repeated = sorted({name for name in pool if pool.count(name) > 1})
        raise ValueError(f"names has {listed(repeated)} more than once; a name is in one split.")
    ordered = sorted(pool, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    val, test = (max(1, round(share * len(pool))) if share else 0 for share in fractions[1:])
    train = len(pool) - val - test
    if train < (1 if fractions[0] else 0):
        raise ValueError(f"{len(pool)} names cannot be split by {tuple(fractions)}; add images.")
    parts = (ordered[:train], ordered[train : train + val], ordered[train + val :])
    return {split: sorted(part) for split, part in zip(SPLITS, parts, strict=True)}


def _xml_files(folder: Path, names: Sequence[str] | None) -> list[Path]:
    """Return the XML files of a split."""
    if names is None:
        files = sorted(folder.glob("*.xml"))
    else:
        files = [folder / f"{name}.xml" for name in names]
    if not files:
        reason = "names is empty." if names is not None else f"no XML files; {contents(folder)}"
        raise ValueError(f"{folder}: {reason} Expected at least one image in a split.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(files)} annotation files do not exist: "
            f"{listed(missing)}. {contents(folder)}"
        )
    return files


def _parse(file: Path) -> ElementTree.Element:
    """Return the root of an XML file without any entities of its own."""
    content = file.read_bytes()
    # Without the zeros of UTF-16, the other encoding that the parser recognises by itself.
    if b"<!DOCTYPE" in content.replace(b"\0", b""):
        raise ValueError(f"{file}: declares a document type; expected plain XML. Remove <!DOCTYPE.")
    try:
        return ElementTree.fromstring(content)  # noqa: S314 - the attacks need a document type
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ValueError(f"{file}: not valid XML at line {line}, column {column}.") from error


def _classes(
    objects: Mapping[Path, ElementTree.Element], classes: Sequence[str] | None
) -> list[str]:
    """Return the class names, and see to it that every object has one."""
    found: dict[str, Path] = {}
    for file, root in objects.items():
        for item in root.findall("object"):
            name = (item.findtext("name") or "").strip()
            if not name:
                raise ValueError(f"{file}: an object has no name; expected <name> in each object.")
            found.setdefault(name, file)
    if classes is None:
        if not found:
            raise ValueError(
                f"{next(iter(objects)).parent}: no objects in {len(objects)} files; "
                "expected classes to be given or to occur."
            )
        return sorted(found)
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise ValueError(
            f"{found[unknown[0]]}: objects of {listed(unknown)}{hint(unknown[0], classes)}; "
            f"expected only {listed(classes, limit=10)}. Rename them, or pass all in classes."
        )
    return list(classes)


def _pictures(folder: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Return the image of each XML file, a JPEG of that name where there is none."""
    by_stem: dict[str, Path] = {}
    # Sorted, so that of a.jpg and a.png it is the same one on every machine.
    for path in sorted(folder.iterdir(), reverse=True):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            by_stem[path.stem] = path
    return {file: by_stem.get(file.stem, folder / f"{file.stem}.jpg") for file in files}


def _region(item: ElementTree.Element, classes: Sequence[str], *, one_based: bool) -> Region:
    """Return one object as a region; a stray click has no width or height."""
    left, top, right, bottom = (_coordinate(item, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    first = int(one_based and left < right and top < bottom)
    name = (item.findtext("name") or "").strip()
    return Region(
        label=classes.index(name) + 1,
        bbox=(left - first, top - first, right - left + first, bottom - top + first),
        ignored=(item.findtext("difficult") or "0").strip() == "1",
    )


def _coordinate(item: ElementTree.Element, key: str) -> float:
    """Return a side of the bounding box, in the file's own coordinates."""
    text = item.findtext(f"bndbox/{key}")
    try:
        return float(text or "")
    except ValueError:
        name = item.findtext("name")
        raise ValueError(f"object {name!r}: {key} is {text!r}; expected a number.") from None


def _pixels(root: ElementTree.Element, key: str) -> int:
    """Return the height or width of the image."""
    text = (root.findtext(f"size/{key}") or "").strip()
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{key} is {text!r} in <size>; expected a whole number of pixels above 0.")
    return int(text)
