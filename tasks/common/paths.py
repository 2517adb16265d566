"""Find the files of a data set, and say what is there when one is missing."""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from backbones.choose import nearest

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


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
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        found += [Path(place, name) for name in names if name.lower().endswith(tuple(suffixes))]
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
    folder = next((place for place in (path, *path.absolute().parents) if place.is_dir()), Path())
    # A folder of a million images is not listed for a message that shows eight of them.
    names = sorted(entry.name for entry in islice(folder.iterdir(), 1000))
    if not names:
        return f"{str(folder)!r} is empty."
    return f"{str(folder)!r} holds {listed(names, limit=8)}{hint(path.name, names)}."
