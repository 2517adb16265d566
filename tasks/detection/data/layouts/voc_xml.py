"""Read one XML file of Pascal VOC's layout."""

import codecs
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tasks.common.files.text import decoded, marked
from tasks.detection.data.boxes import Region

_DECLARED: Final = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([^"'>]*)["']""")
_WIDE: Final = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
# What is called by the narrow name holds letters of the wider one, as browsers know.
_WIDER: Final = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}

_NO_TEXT: Final = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7")


def read_xml(file: Path) -> ElementTree.Element:
    """Return the root of an XML file in any encoding that Python knows.

    A byte order mark tells it, else the file's declaration; without both it is UTF-8.

    Args:
        file: Without entities of its own.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text in its encoding, the encoding is unknown, it is not XML,
            declares a document type (which could pull in other files), or is of another kind than
            VOC's. With the file.
    """
    content = file.read_bytes()
    text = decoded(content, _encoding(content, file), path=file).lstrip("\ufeff")
    if "<!DOCTYPE" in text:
        raise ValueError(f"{file}: declares a document type; expected plain XML. Remove <!DOCTYPE.")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - the attacks need a document type
    except (ElementTree.ParseError, ValueError) as error:
        line, column = getattr(error, "position", (1, 0))
        raise ValueError(f"{file}: not valid XML at line {line}, column {column}.") from error
    if root.tag != "annotation":
        raise ValueError(
            f"{file}: the outer element is <{root.tag}>; expected <annotation>, as Pascal VOC has "
            "it. Convert the file."
        )
    return root


def read_record(
    root: ElementTree.Element, classes: Sequence[str], *, one_based: bool
) -> tuple[int, int, list[Region]]:
    """Return height, width and regions of an image.

    Args:
        root: See `read_xml`.
        classes: Label k is ``classes[k - 1]``; every object's name is among them.
        one_based: See `tasks.detection.data.layouts.voc.read_voc`.

    Raises:
        ValueError: If the size or a coordinate is no number.
    """
    height, width = (_pixels(root, key) for key in ("height", "width"))
    labels = {name.strip(): label for label, name in enumerate(classes, start=1)}
    regions = [_region(item, labels, one_based=one_based) for item in root.findall("object")]
    return height, width, regions


def class_name(item: ElementTree.Element) -> str:
    """Return the name of an object, without spaces around it."""
    return (item.findtext("name") or "").strip()


def _encoding(content: bytes, file: Path) -> str:
    """Return the encoding of XML as Python calls it."""
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
        raise ValueError(
            f"{file}: declares the encoding {declared!r}, which is none of text; expected "
            "one such as UTF-8, ISO-8859-1 or GB18030. Save the file as UTF-8."
        ) from error
    if name.startswith(("utf-16", "utf-32")):  # .NET says so of UTF-8 that it has written
        return "utf-8"
    return _WIDER.get(name, name)


def _region(item: ElementTree.Element, labels: Mapping[str, int], *, one_based: bool) -> Region:
    """Return one object as a region; a stray click has no width or height."""
    left, top, right, bottom = (_coordinate(item, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    first = int(one_based)
    x, width = _span(left, right, first=first)
    y, height = _span(top, bottom, first=first)
    return Region(
        label=labels[class_name(item)],
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
    """Return a side of the bounding box, in the file's own coordinates."""
    text = item.findtext(f"bndbox/{key}")
    try:
        return float(text or "")
    except ValueError:
        name = item.findtext("name")
        raise ValueError(f"object {name!r}: {key} is {text!r}; expected a number.") from None


def _pixels(root: ElementTree.Element, key: str) -> int:
    """Return the height or width of the image, which some tools write as 640.0."""
    text = (root.findtext(f"size/{key}") or "").strip()
    whole = re.sub(r"\.0*$", "", text)
    if not whole.isdecimal() or int(whole) == 0:
        raise ValueError(f"{key} is {text!r} in <size>; expected a whole number of pixels above 0.")
    return int(whole)
