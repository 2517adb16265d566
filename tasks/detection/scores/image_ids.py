"""The ids that a COCO file gives to image files, matched by their paths."""

import posixpath
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.files.input_files import NamedFile
from tasks.common.files.paths import existing_file, hint
from tasks.common.files.text import read_json
from tasks.common.options.limits import is_finite

Parts = tuple[str, ...]
_SHAPE: Final = "expected 'images' with 'id' and 'file_name'"


def read_image_ids(annotation_file: Path) -> dict[str, int]:
    """Return the image ids of a COCO file by ``file_name``; refuse names or ids that repeat."""
    content = read_json(existing_file(annotation_file, what="annotation file"))
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{annotation_file} is no COCO annotation file; {_SHAPE}.")
    ids: dict[str, int] = {}
    names: dict[int, str] = {}
    for entry in entries:
        name, number = _checked(entry, annotation_file)
        if name in ids or number in names:
            raise UserError(
                f"{annotation_file}: {name!r} has the id {number}, and "
                f"{names.get(number, name)!r} has the id {ids.get(name, number)}; expected each "
                "name and each id once."
            )
        ids[name], names[number] = number, name
    return ids


def match_ids(files: Sequence[NamedFile], ids: Mapping[str, int]) -> tuple[list[int], str]:
    """Return the id of each file, and a note on matches that are not of whole paths.

    A ``file_name`` fits a file whose path ends in it; of several, the longest does. Where none
    does, a ``file_name`` with more folders fits that ends in the file's name, such as
    ``train/1.jpg`` for ``1.jpg``. Files that none fits, and ambiguous ones, are refused.
    """
    entries: dict[Parts, str] = {}
    for name in ids:
        other = entries.setdefault(parts_of(name), name)
        if other != name:
            raise UserError(f"{other!r} and {name!r} of the annotation file are one path.")
    fits = {file: _ends_of_path(file, entries) for file in files}
    owners = _owners({file: max(found, key=len) for file, found in fits.items() if found}, entries)
    rest = [file for file in files if not fits[file]]
    longer = {file: _longer(file, entries, taken=owners) for file in rest}
    owners |= _owners({file: parts for file, parts in longer.items() if parts}, entries)
    found = {file: parts for parts, file in owners.items()}
    if unknown := [file.name for file in files if file not in found]:
        raise UserError(
            f"{len(unknown)} of {len(files)} files are not in the annotation file, such as "
            f"{unknown[0]!r}{hint(unknown[0], list(ids))}; predict without it, or give its images."
        )
    note = ""
    if rest:
        note = (
            f"{len(rest)} of {len(files)} images are matched by the end of their file_name, such "
            f"as {rest[0].name!r} by {entries[found[rest[0]]]!r}"
        )
    return [ids[entries[found[file]]] for file in files], note


def _ends_of_path(file: NamedFile, entries: Collection[Parts]) -> list[Parts]:
    where = parts_of(str(file.path.absolute()))
    ends = (where[first:] for first in range(len(where)))
    return [end for end in ends if end in entries]


def _longer(file: NamedFile, entries: Mapping[Parts, str], *, taken: Collection[Parts]) -> Parts:
    """Return the one entry that ends in a file's name, or nothing."""
    own = parts_of(file.name)
    found = [parts for parts in entries if parts[-len(own) :] == own and parts not in taken]
    if len(found) > 1:
        raise UserError(
            f"{file.name!r} may be {entries[found[0]]!r} or {entries[found[1]]!r} of the "
            "annotation file; give the folder that its names begin in."
        )
    return found[0] if found else ()


def _owners(
    chosen: Mapping[NamedFile, Parts], entries: Mapping[Parts, str]
) -> dict[Parts, NamedFile]:
    """Return the file of each entry, which has to be one."""
    owners: dict[Parts, NamedFile] = {}
    for file, parts in chosen.items():
        other = owners.setdefault(parts, file)
        if other is not file:
            raise UserError(
                f"{other.name!r} and {file.name!r} both fit {entries[parts]!r} of the annotation "
                "file; give the images of that file only, or put folders into its file_name."
            )
    return owners


def _checked(entry: Any, source: Path) -> tuple[str, int]:  # noqa: ANN401 (JSON values)
    entry = entry if isinstance(entry, dict) else {}
    name, number = entry.get("file_name"), entry.get("id")
    is_name = isinstance(name, str) and bool(parts_of(name))
    if not (is_name and is_finite(number) and float(number).is_integer()):
        raise UserError(
            f"{source} is no COCO annotation file: an image has the file_name {name!r} and the id "
            f"{number!r}; {_SHAPE}, a text and a whole number."
        )
    return name, int(number)


def parts_of(name: str) -> Parts:
    r"""Return folders and name of a path, in one of Unicode's spellings, without ``..``.

    >>> parts_of(r"..\val\1.jpg")
    ('val', '1.jpg')
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    return tuple(
        part for part in posixpath.normpath(text).split("/") if part not in ("", ".", "..")
    )
