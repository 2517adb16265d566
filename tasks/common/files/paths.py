"""Find the files of a data set, and say what is there when one is missing."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePath, PureWindowsPath
from typing import Final
from urllib.parse import unquote

from backbones.choose import nearest

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_SEARCHED: Final = 20_000  # files below a folder, for one that is named and not there

# What file managers and archives leave in folders, beside names with a leading dot.
_LITTER: Final = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is no part of a data set, by its own name.

    Names with a leading dot are (``.DS_Store``; ``._0001.jpg`` holds the attributes that macOS
    keeps beside ``0001.jpg``), and what Windows and archive tools leave behind. The folders
    above it are not looked at.

    Args:
        path: The file or folder; it need not exist.

    Example:
        >>> is_hidden(Path("images/._0001.jpg")), is_hidden(Path(".data/0001.jpg"))
        (True, False)
    """
    return path.name.startswith(".") or path.name.lower() in _LITTER


def files_below(folder: Path, *, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder and of all folders below it, sorted, without hidden ones.

    Args:
        folder: The folder; links to folders in it are not followed.
        suffixes: Which endings count, in small letters and with the dot; case does not matter.
    """
    ends = tuple(suffixes)
    found = (path for path in _walk(folder) if path.name.lower().endswith(ends))
    return sorted(path for path in found if not is_hidden(path))


def listed(names: Sequence[str], *, limit: int = 5) -> str:
    """Return the first names as one phrase for a message.

    Args:
        names: What to list, in the order to list it.
        limit: How many are spelt out.

    Example:
        >>> listed(["a.jpg", "b.jpg", "c.jpg"], limit=2)
        "'a.jpg', 'b.jpg' and 1 more"
    """
    shown = ", ".join(repr(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Raise if a folder that is to be written holds something already.

    Args:
        folder: The folder; it need not be there.
        overwrite: Whether what is in it may be replaced.

    Raises:
        ValueError: If it is a file, or not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder} is a file; give a folder.")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"--output {folder} is not empty, and files of the same names would be replaced; give "
            "another folder, or add --overwrite."
        )


def hint(name: str, names: Sequence[str]) -> str:
    """Return the name that was probably meant as a phrase, or an empty string.

    Args:
        name: What was asked for.
        names: What there is.

    Example:
        >>> hint("WCB", ["RBC", "WBC"])
        " (nearest: 'WBC')"
    """
    close = nearest(name, names)
    return f" (nearest: {close!r})" if close else ""


def existing_file(path: Path, *, what: str) -> Path:
    """Return ``path`` if it is a file.

    Args:
        path: The file that must be there.
        what: The noun for the message, such as ``"annotation file"``.

    Raises:
        FileNotFoundError: If it is missing or a folder; the message lists what is there instead.
    """
    if path.is_file():
        return path
    problem = "is a folder" if path.is_dir() else "does not exist"
    raise FileNotFoundError(f"{what} {str(path)!r} {problem}; expected a file. {contents(path)}")


def existing_folder(path: Path, *, what: str) -> Path:
    """Return ``path`` if it is a folder.

    Args:
        path: The folder that must be there.
        what: The noun for the message, such as ``"image folder"``.

    Raises:
        FileNotFoundError: If it is missing or a file; the message lists what is there instead.
    """
    if path.is_dir():
        return path
    problem = "is a file" if path.is_file() else "does not exist"
    raise FileNotFoundError(f"{what} {str(path)!r} {problem}; expected a folder. {contents(path)}")


def contents(path: Path) -> str:
    """Return a sentence on what the nearest existing folder at or above ``path`` holds.

    Args:
        path: A file or folder, which may be missing.
    """
    folder = next(
        (place for place in (path, *path.absolute().parents) if _is_folder(place)), Path()
    )
    # A folder of a million images is not listed for a message that shows eight of them.
    names = sorted(entry.name for entry in islice(folder.iterdir(), 1000))
    if not names:
        return f"{str(folder)!r} is empty."
    return f"{str(folder)!r} holds {listed(names, limit=8)}{hint(path.name, names)}."


def name_here(folder: Path, name: str) -> str:
    r"""Return a path that another file names, with ``/`` for Windows' ``\`` where that is the file.

    Args:
        folder: What the path is relative to.
        name: As it is written; it stays so if it exists, or if no way of reading it exists.

    Example:
        >>> name_here(Path("no-such-folder"), r"images\1.jpg")
        'images\\1.jpg'
    """
    turned = name.replace("\\", "/")
    if turned != name and not _is_file(folder / name) and _is_file(folder / turned):
        return turned
    return name


def named_file(folder: Path, name: str, *, what: str) -> Path:
    """Return the file that another file names.

    Args:
        folder: What the path is relative to.
        name: As it is written; see `name_here`.
        what: The noun for the message, with the place that names it.

    Raises:
        FileNotFoundError: If it is missing, with what `not_found` says.
    """
    path = folder / name_here(folder, name)
    if _is_file(path):
        return path
    raise FileNotFoundError(not_found(folder, name, what=what))


def not_found(folder: Path, name: str, *, what: str) -> str:
    """Return what to say of a file that another file names and that is not there.

    Args:
        folder: What the path is relative to.
        name: As it is written, which is how it is shown.
        what: The noun for the message, such as ``"image"``.
    """
    shown = repr(name).replace("\\\\", "\\")  # a backslash as it is written
    if _is_folder(folder / name):
        return f"{what} {shown} is a folder below {str(folder)!r}; expected a file."
    path = PureWindowsPath(name)  # which parts names at both slashes
    below = "" if path.root or path.drive else f" below {str(folder)!r}"
    said = f"{what} {shown} does not exist{below}"
    places = [
        place
        for place in list(folder.absolute().parents)[:2]
        if _is_file(place / name_here(place, name))
    ]
    there = _alike(folder, path.name)
    if not there and not places:
        return f"{said}. {contents(folder / name)}"
    if not there:
        return f"{said}, but below {str(places[0])!r}; give that folder, or change the paths."
    found = listed(there, limit=3)
    return f"{said}; {str(folder)!r} holds {found}: {_advice(path.name, there[0], places)}."


def is_there(path: Path) -> bool:
    """Return whether a path is a file or a folder; one that is too long for a file system is none.

    Args:
        path: Which may be anything that another file names.
    """
    return _is_file(path) or _is_folder(path)


def _is_file(path: Path) -> bool:
    """Return whether a path is a file; one that is too long for a file system is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, as `_is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _alike(folder: Path, base: str) -> list[str]:
    """Return the paths below a folder whose last part is a name or is written nearly as it."""
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
    """Yield the files of a folder and of those below it that are not hidden."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        yield from (Path(place, name) for name in names)


def _plain(name: str) -> str:
    """Return a name without what makes two spellings of it: case, accents' form, %20, spaces."""
    return unicodedata.normalize("NFC", unquote(name)).strip().casefold()


def _advice(base: str, found: str, places: Sequence[Path]) -> str:
    """Return what to do about a file that is there under another path."""
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
