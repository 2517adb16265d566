"""Read folders of Pascal-VOC XML files."""

import codecs
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from backbones.errors import UserError
from tasks.common.files.paths import existing_folder, hint, listed
from tasks.common.files.text import decoded, marked
from tasks.common.report.advice import advice
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.boxes import cleaned
from tasks.detection.data.layouts.voc_files import VocFiles, read_image_sets
from tasks.detection.data.raw_annotations import LabelledImage, LabelledSet, Parts, Region

DIFFICULT: Final = "difficult, kept for evaluation only"
_DECLARED: Final = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([^"'>]*)["']""")
_WIDE: Final = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
# Files declare the narrow encoding and use letters of the wider one; browsers do the same.
_WIDER: Final = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
_NO_TEXT: Final = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7")


def voc_parts(
    *,
    root: str | Path,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    classes: Sequence[str] | None = None,
    one_based: bool = True,
) -> Parts:
    """Return the splits of a data set in Pascal VOC's layout.

    They are those of ``ImageSets/Main/{train,val,test}.txt``, with the classes of the training
    split. Without train and val, the images of ``trainval.txt``, or all, are to be divided. XML
    files in folders ``train``, ``val`` (or ``valid``) and ``test`` are split so.

    Args:
        root: The folder that the other paths are relative to.
        annotations: Folder of the XML files.
        images: Folder of the images.
        classes: Class names that fix the labels; None for those that occur, sorted.
        one_based: Whether coordinates count from 1, as VOC's do; see `read_voc`.
    """
    base = existing_folder(Path(root), what="root")
    found = VocFiles(base / annotations, base / images)
    sets = read_image_sets(base)
    lists = sets.by_split()
    splits = {
        split: found.named(sets.lists[name], where=f"{sets.folder / name}.txt")
        for split, name in lists.items()
    }
    parts: Parts = {}
    for split, files in (splits or found.by_split()).items():
        part = _labelled(found, files, classes=classes, one_based=one_based)
        classes = part.classes  # those of train, which comes first
        parts[split] = part.with_warnings(sets.repeated.get(lists.get(split, ""), ""))
    return parts


def read_voc(
    annotation_folder: Path,
    image_folder: Path,
    *,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    one_based: bool = True,
) -> Annotations:
    """Return one split in Pascal VOC's format: an XML file per image, in or below the folder.

    VOC counts pixels from 1, and its ``xmax, ymax`` are the last pixels inside. The box in the
    coordinates used here, with 0 as the left edge of the image, is therefore ``(xmin - 1, ymin - 1,
    xmax, ymax)``, as in detectron2; without ``one_based`` the numbers are edges from 0. A box with
    ``xmax == xmin`` or ``ymax == ymin`` is a stray click and dropped; corners in the other order
    are put in order. ``difficult`` objects are scored like COCO's crowd regions, and not trained
    on. ``names`` are those of the split, see `VocFiles.named`; ``classes`` fix the labels, None for
    those that occur, sorted.
    """
    found = VocFiles(Path(annotation_folder), Path(image_folder))
    files = found.files if names is None else found.named(names, where=str(found.folder))
    return cleaned(_labelled(found, files, classes=classes, one_based=one_based))


def read_xml(file: Path) -> ElementTree.Element:
    """Return the root of an XML file in the encoding of its byte order mark, declaration or UTF-8.

    A document type, which could pull in other files, is refused.
    """
    content = file.read_bytes()
    text = decoded(content, _encoding(content, file), path=file).lstrip("\ufeff")
    if "<!DOCTYPE" in text:
        raise UserError(f"{file}: declares a document type; expected plain XML. Remove <!DOCTYPE.")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - the attacks need a document type
    except (ElementTree.ParseError, ValueError) as error:
        line, column = getattr(error, "position", (1, 0))
        raise UserError(f"{file}: not valid XML at line {line}, column {column}.") from error
    if root.tag != "annotation":
        raise UserError(
            f"{file}: the outer element is <{root.tag}>; expected <annotation>, as Pascal VOC has "
            "it. Convert the file."
        )
    return root


def _labelled(
    found: VocFiles, files: Sequence[Path], *, classes: Sequence[str] | None, one_based: bool
) -> LabelledSet:
    roots = {file: read_xml(file) for file in files}
    chosen = _classes(roots, classes)
    labels = {name.strip(): label for label, name in enumerate(chosen, start=1)}
    images: dict[Path, LabelledImage] = {}
    for file, root in roots.items():
        try:
            height, width = (_pixels(root, key) for key in ("height", "width"))
            regions = [_region(o, labels, first=int(one_based)) for o in root.findall("object")]
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        path = found.picture(file, (root.findtext("filename") or "").strip())
        name = path.relative_to(found.images).as_posix()
        if path in images:
            other = list(roots)[list(images).index(path)]
            raise UserError(
                f"{other} and {file.name} are both of the image {name!r}; expected one XML file "
                "per image. Remove either, or add the missing image."
            )
        images[path] = LabelledImage(
            path=path, file_name=name, height=height, width=width, regions=regions
        )
    labelled = LabelledSet(
        source=found.folder,
        image_folder=found.images,
        images=list(images.values()),
        classes=chosen,
        category_ids=range(1, len(chosen) + 1),
        ignored_reason=DIFFICULT,
        one_based=one_based,
    )
    training, scoring = f"one_based={str(one_based).lower()}", "--one-based"
    option = advice(training, otherwise=scoring if one_based else "--no-one-based")
    return labelled.judged("xyxy", first=int(one_based), option=option)


def _classes(roots: Mapping[Path, ElementTree.Element], classes: Sequence[str] | None) -> list[str]:
    found: dict[str, Path] = {}
    for file, root in roots.items():
        for item in root.findall("object"):
            name = _name(item)
            if not name:
                raise UserError(f"{file}: an object has no name; expected <name> in each object.")
            found.setdefault(name, file)
    if classes is None:
        if not found:
            raise UserError(
                f"{next(iter(roots)).parent}: no objects in {len(roots)} files; "
                "expected at least one, which says what the classes are."
            )
        return sorted(found)
    chosen = [name.strip() for name in classes]
    if unknown := [name for name in found if name not in chosen]:
        raise UserError(
            f"{found[unknown[0]]}: objects of {listed(unknown)}{hint(unknown[0], chosen)}; "
            f"expected only {listed(chosen, limit=10)}. Rename or remove them, or train with these "
            "classes too."
        )
    return list(classes)


def _encoding(content: bytes, file: Path) -> str:
    if mark := marked(content):
        return mark
    for start, name in _WIDE:
        if content.startswith(start):
            return name
    found = _DECLARED.match(content[:200])
    if not found:
        return "utf-8"
    declared = found[1].decode("latin-1")
    try:
        name = codecs.lookup(declared).name
        "".encode("hex" if name in _NO_TEXT else name)  # which raises for hex
    except (LookupError, ValueError) as error:
        raise UserError(
            f"{file}: declares the encoding {declared!r}, which is none of text; expected "
            "one such as UTF-8, ISO-8859-1 or GB18030. Save the file as UTF-8."
        ) from error
    if name.startswith(("utf-16", "utf-32")):  # .NET declares UTF-16 in files written as UTF-8
        return "utf-8"
    return _WIDER.get(name, name)


def _name(item: ElementTree.Element) -> str:
    return (item.findtext("name") or "").strip()


def _region(item: ElementTree.Element, labels: Mapping[str, int], *, first: int) -> Region:
    left, top, right, bottom = (_coordinate(item, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    x, width = _span(left, right, first=first)
    y, height = _span(top, bottom, first=first)
    return Region(
        label=labels[_name(item)],
        bbox=(x, y, width, height),
        ignored=(item.findtext("difficult") or "0").strip() == "1",
        stored=(left, top, right, bottom),
    )


def _span(begin: float, end: float, *, first: int) -> tuple[float, float]:
    """Return where a side begins, and its length, which is below 0 where it was drawn backwards."""
    if begin < end:
        return begin - first, end - begin + first
    return begin, (end - begin - first if end < begin else end - begin)


def _coordinate(item: ElementTree.Element, key: str) -> float:
    text = item.findtext(f"bndbox/{key}")
    try:
        return float(text or "")
    except ValueError:
        name = item.findtext("name")
        raise UserError(f"object {name!r}: {key} is {text!r}; expected a number.") from None


def _pixels(root: ElementTree.Element, key: str) -> int:
    """Return the height or width of the image, which some tools write as 640.0."""
    text = (root.findtext(f"size/{key}") or "").strip()
    whole = re.sub(r"\.0*$", "", text)
    if not whole.isdecimal() or int(whole) == 0:
        raise UserError(f"{key} is {text!r} in <size>; expected a whole number of pixels above 0.")
    return int(whole)
