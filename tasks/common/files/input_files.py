"""The files that a command line names by files, folders and patterns."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from backbones.errors import UserError
from tasks.common.files.paths import contents, files_below, is_hidden, listed
from tasks.common.files.text import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFile:
    """A file."""

    path: Path  # as it was given or found
    name: str  # the unique path below the common folder of all files, with ``/`` and `printable`


def find_files(
    sources: Sequence[str | Path], *, suffixes: Sequence[str], written: Sequence[Path] = ()
) -> list[NamedFile]:
    """Return the files that ``sources`` name, in their order, each file once.

    A source is a file, a folder, which is searched with its subfolders, or a pattern such as
    ``images/**/*.png`` that the shell did not expand. A path that exists is no pattern, so
    ``a[1].png`` may be a file. A hidden file is taken only if it is named and has an image suffix;
    any other file that is named is taken whatever its suffix; in folders and patterns ``suffixes``,
    in lower case with the dot, count. Output folders (``written``) are skipped when a folder above
    them is searched. A source that does not exist, or holds no such file, is a FileNotFoundError.
    """
    taken: dict[Path, Path] = {}  # by absolute path
    roots: list[Path] = []
    outputs = [_absolute(folder) for folder in written]
    for source in sources:
        if _is_litter(Path(source), suffixes):
            continue
        places = _places(source, suffixes)
        found = {place: _files(place, suffixes, outputs) for place in places}
        if not any(found.values()):
            raise FileNotFoundError(
                f"no image in {str(source)!r}; expected files that end in {', '.join(suffixes)}, "
                f"in it or in a folder below it. {contents(Path(source))}"
            )
        for place, files in found.items():
            if files:
                roots.append(_absolute(place if place.is_dir() else place.parent))
            for file in files:
                taken.setdefault(_absolute(file), file)
    if not taken:
        raise FileNotFoundError(f"no image among {listed([str(source) for source in sources])}.")
    root = os.path.commonpath(roots)
    return [
        NamedFile(path=path, name=printable(where.relative_to(root).as_posix()))
        for where, path in taken.items()
    ]


def output_names(names: Sequence[str], *, suffixes: Sequence[str]) -> list[str]:
    """Return the names of outputs: the files' names, without the suffix where that is unique.

    Names that differ in case only are not unique: not every file system tells them apart.
    """
    chosen = [_stem(name, suffixes) for name in names]
    while True:
        counts = Counter(name.casefold() for name in chosen)
        wider = [
            name if counts[short.casefold()] > 1 else short
            for name, short in zip(names, chosen, strict=True)
        ]
        if wider == chosen:
            break
        chosen = wider
    refuse_same({name: [short] for name, short in zip(names, chosen, strict=True)})
    return chosen


def refuse_same(outputs: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if two outputs, named without suffixes, have the same name but for case."""
    owners: dict[str, str] = {}
    for name, written in outputs.items():
        for output in written:
            if output.casefold() in owners:
                both = " and ".join(dict.fromkeys([repr(owners[output.casefold()]), repr(name)]))
                raise UserError(
                    f"two outputs, of {both}, would be called {output!r}, or differ in large and "
                    "small letters only; rename one, or predict them in two calls with an --output "
                    "each."
                )
            owners[output.casefold()] = name


class SkippedError(UserError):
    """Some files of a prediction could not be used, or not to their end; the others are done.

    Args:
        faults: Why files were skipped, by their names.
        cut: What is missing of videos that end early, by their names.
        total: How many files there are.
        output: Folder of the results.
    """

    def __init__(
        self, faults: Mapping[str, Exception], cut: Mapping[str, str], *, total: int, output: Path
    ) -> None:
        parts = []
        if faults:
            parts.append(f"{len(faults)} of {total} files were skipped: {listed(list(faults))}")
        if cut:
            ends = ", ".join(f"{name!r} {text}" for name, text in list(cut.items())[:5])
            parts.append(f"{len(cut)} of {total} files are cut short: {ends}")
        others = f"everything else is in {output}"
        parts.append(others if len(faults) < total else "nothing is written")
        first = f" The first: {next(iter(faults.values()))}" if faults else ""
        super().__init__(f"{'; '.join(parts)}.{first}")


def _places(source: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the file or folder that a source names, or those that match its pattern."""
    path = Path(source)
    if str(source).startswith("~/") and not path.exists():
        path = path.expanduser()
    if path.exists():
        return [path]
    if not has_magic(str(source)):
        raise FileNotFoundError(f"no file or folder {str(source)!r}. {contents(path)}")
    # The part that exists, such as a folder set[1], is no pattern.
    folder = next(above for above in path.parents if above.is_dir())
    matches = folder.glob(str(Path(*path.parts[len(folder.parts) :])))
    found = [match for match in sorted(matches) if match.is_dir() or _has(match, suffixes)]
    return [
        match
        for match in found
        if not any(is_hidden(Path(part)) for part in match.relative_to(folder).parts)
    ]


def _is_litter(path: Path, suffixes: Sequence[str]) -> bool:
    """Return whether a file is a hidden one that the shell's ``*`` may have named."""
    return is_hidden(path) and path.is_file() and not _has(path, suffixes)


def _files(place: Path, suffixes: Sequence[str], outputs: Sequence[Path]) -> list[Path]:
    if not place.is_dir():
        return [place]
    away = [folder for folder in outputs if not _absolute(place).is_relative_to(folder)]
    return [
        file
        for file in files_below(place, suffixes=suffixes)
        if not any(_absolute(file).is_relative_to(folder) for folder in away)
    ]


def _absolute(path: Path) -> Path:
    """Return the absolute path without ``..``, links not resolved."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _has(path: Path, suffixes: Sequence[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes))


def _stem(name: str, suffixes: Sequence[str]) -> str:
    suffix = next((s for s in suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]
