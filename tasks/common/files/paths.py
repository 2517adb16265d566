"""Find the files of a data set, and describe what is there when one is missing."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePath, PureWindowsPath
from typing import Final
from urllib.parse import unquote

from backbones.choose import nearest
from backbones.errors import UserError

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_SEARCHED: Final = 20_000  # files below a folder, when a named one is missing
# Left behind by file managers and archive tools, beside names with a leading dot.
_LITTER: Final = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
# Path's own raise for a name that is too long for the file system.
_is_file, _is_folder = os.path.isfile, os.path.isdir


def is_hidden(path: Path) -> bool:
    """Return whether a name begins with a dot or is left behind by Windows or archive tools.

    Only the last part of the path counts. ``._0001.jpg`` holds macOS's attributes of ``0001.jpg``.

    >>> is_hidden(Path("images/._0001.jpg")), is_hidden(Path(".data/0001.jpg"))
    (True, False)
    """
    return path.name.startswith(".") or path.name.lower() in _LITTER


def files_below(folder: Path, *, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder and its subfolders (no links), sorted, without hidden ones.

    ``suffixes`` are in lower case, with the dot; the files' case does not matter.
    """
    ends = tuple(suffixes)
    found = (path for path in _walk(folder) if path.name.lower().endswith(ends))
    return sorted(path for path in found if not is_hidden(path))


def listed(names: Sequence[str], *, limit: int = 5) -> str:
    """Return the first ``limit`` names as a phrase for a message.

    >>> listed(["a.jpg", "b.jpg", "c.jpg"], limit=2)
    "'a.jpg', 'b.jpg' and 1 more"
    """
    shown = ", ".join(repr(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Raise UserError if an output folder is a file, or holds files that may not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file; give a folder.")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"--output {folder} is not empty, and files of the same names would be replaced; give "
            "another folder, or add --overwrite."
        )


def hint(name: str, names: Sequence[str]) -> str:
    """Return the nearest of the names as a phrase for a message, or an empty string.

    >>> hint("WCB", ["RBC", "WBC"])
    " (nearest: 'WBC')"
    """
    close = nearest(name, names)
    return f" (nearest: {close!r})" if close else ""


def existing_file(path: Path, *, what: str) -> Path:
    """Return ``path`` if it is a file; else raise FileNotFoundError with what is there."""
    return _existing(path, what, expected="file")


def existing_folder(path: Path, *, what: str) -> Path:
    """Return ``path`` if it is a folder; as `existing_file`."""
    return _existing(path, what, expected="folder")


def _existing(path: Path, what: str, *, expected: str) -> Path:
    kind = "file" if path.is_file() else "folder" if path.is_dir() else ""
    if kind == expected:
        return path
    problem = f"is a {kind}" if kind else "does not exist"
    raise FileNotFoundError(
        f"{what} {str(path)!r} {problem}; expected a {expected}. {contents(path)}"
    )


def contents(path: Path) -> str:
    """Return a sentence on what ``path``, or the nearest folder above it that exists, holds."""
    folder = next(
        (place for place in (path, *path.absolute().parents) if _is_folder(place)), Path()
    )
    # Enough for a message that shows eight, even of a folder with a million.
    names = sorted(entry.name for entry in islice(folder.iterdir(), 1000))
    if not names:
        return f"{str(folder)!r} is empty."
    return f"{str(folder)!r} holds {listed(names, limit=8)}{hint(path.name, names)}."


def name_here(folder: Path, name: str) -> str:
    r"""Return a path that a file refers to, with ``/`` for ``\`` if only that exists in ``folder``.

    >>> name_here(Path("no-such-folder"), r"images\1.jpg")
    'images\\1.jpg'
    """
    turned = name.replace("\\", "/")
    if turned != name and not _is_file(folder / name) and _is_file(folder / turned):
        return turned
    return name


def named_file(folder: Path, name: str, *, what: str) -> Path:
    """Return the file that another file refers to; else raise FileNotFoundError about ``what``."""
    path = folder / name_here(folder, name)
    if _is_file(path):
        return path
    raise FileNotFoundError(not_found(folder, name, what=what))


def not_found(folder: Path, name: str, *, what: str) -> str:
    """Return the message for a missing file, with where a similar one is; as `named_file`."""
    shown = repr(name).replace("\\\\", "\\")  # a backslash as it is written
    if _is_folder(folder / name):
        return f"{what} {shown} is a folder below {str(folder)!r}; expected a file."
    path = PureWindowsPath(name)  # splits at both slashes
    below = "" if path.root or path.drive else f" below {str(folder)!r}"
    missing = f"{what} {shown} does not exist{below}"
    places = [
        place
        for place in list(folder.absolute().parents)[:2]
        if _is_file(place / name_here(place, name))
    ]
    there = _similar(folder, path.name)
    if not there and not places:
        return f"{missing}. {contents(folder / name)}"
    if not there:
        return f"{missing}, but below {str(places[0])!r}; give that folder, or change the paths."
    found = listed(there, limit=3)
    return f"{missing}; {str(folder)!r} holds {found}: {_advice(path.name, there[0], places)}."


def is_there(path: Path) -> bool:
    """Return whether a path exists; False for one that is too long for the file system."""
    return _is_file(path) or _is_folder(path)


def _similar(folder: Path, base: str) -> list[str]:
    """Return the files below a folder with that name, or with a similar one."""
    same, near, other = [], [], []
    for path in islice(_walk(folder), _SEARCHED):
        if path.name == base:
            same.append(path)
        elif _plain(path.name) == _plain(base):
            near.append(path)
        elif _plain(path.stem) == _plain(PurePath(base).stem):
            other.append(path)
    found = same or near or other
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the subfolders that are not hidden."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        yield from (Path(place, name) for name in names)


def _plain(name: str) -> str:
    """Normalise case, accents, codes such as %20 and outer spaces."""
    return unicodedata.normalize("NFC", unquote(name)).strip().casefold()


def _advice(base: str, found: str, places: Sequence[Path]) -> str:
    """Return what to do about a file that exists under another path."""
    name = PurePath(found).name
    if name == base:
        folder = f"give {str(places[0])!r} as the folder" if places else "give another folder"
        return f"write the paths as they are in there, or {folder}"
    if _plain(name) != _plain(base):
        return f"{base!r} has another suffix"
    if unquote(base) != base and _plain(base) == name.casefold():
        return "codes such as %20 are not read; write the name itself"
    if base.casefold() == name.casefold():
        return "capital and small letters differ; write the name as the file has it"
    return "spaces or the form of accents differ; write the name as the file has it"
