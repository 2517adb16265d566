"""The files that a command line names: files, folders and patterns, each file once."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile
from pathlib import Path

from tasks.common.files.paths import contents, files_below, is_hidden, listed


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFile:
    """A file and what it is called in what is written about it.

    Attributes:
        path: Where it is, as it was given or found.
        name: Its path below the folder that holds all files, with ``/``; unique among them.
    """

    path: Path
    name: str


def find_files(
    sources: Sequence[str | Path], *, suffixes: Sequence[str], written: Sequence[Path] = ()
) -> list[NamedFile]:
    """Return the files that ``sources`` stand for: in their order, each file once.

    A source is a file, a folder, or a pattern such as ``images/*/*.png`` that the shell did not
    expand (``**`` stands for any folders). What exists is never taken for a pattern, so
    ``a[1].png`` may be a file. Folders are searched with all folders below them, links to folders
    apart. Hidden files are passed over, unless they are named and have a suffix of an image. Other
    files that are named need no such suffix: whether they can be read is found out later.

    Args:
        sources: At least one.
        suffixes: Of the files to take from folders and patterns, in small letters, with the dot.
        written: Folders that are written to, which are left out where a folder above is searched.

    Raises:
        FileNotFoundError: If a source does not exist, or there is no such file in it.
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
        NamedFile(path=path, name=where.relative_to(root).as_posix())
        for where, path in taken.items()
    ]


def output_names(names: Sequence[str], *, suffixes: Sequence[str]) -> list[str]:
    """Return what to call the outputs of files: the name without its suffix, where that is unique.

    Of ``a.jpg`` beside ``a.png`` both keep their suffix, as do ``A.jpg`` and ``a.png``: not every
    file system tells large letters from small ones.

    Args:
        names: Of `NamedFile`.
        suffixes: Which endings are left out, in small letters, with the dot.

    Raises:
        ValueError: If two names differ in large and small letters only.
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
    """Raise ValueError if one output would replace another, in whatever letters.

    Args:
        outputs: What will be written of each file, without suffixes.
    """
    owners: dict[str, str] = {}
    for name, written in outputs.items():
        for output in written:
            if output.casefold() in owners:
                both = " and ".join(dict.fromkeys([repr(owners[output.casefold()]), repr(name)]))
                raise ValueError(
                    f"two outputs, of {both}, would be called {output!r}, or differ in large and "
                    "small letters only; rename one, or predict them in two calls with an --output "
                    "each."
                )
            owners[output.casefold()] = name


def skipped_error(faults: Mapping[str, Exception], *, total: int, output: Path) -> ValueError:
    """Return the error that a prediction ends with when files had to be skipped.

    Args:
        faults: Why each skipped file was skipped, by its name.
        total: How many files there were.
        output: The folder of the others' results.
    """
    rest = (
        f"the results of the others are in {output}"
        if len(faults) < total
        else "nothing is written"
    )
    return ValueError(
        f"{len(faults)} of {total} images were skipped: {listed(list(faults))}; {rest}. "
        f"The first: {next(iter(faults.values()))}"
    )


def _places(source: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the file or folder that a source is, or those that it is the pattern of."""
    path = Path(source)
    if str(source).startswith("~/") and not path.exists():
        path = path.expanduser()
    if path.exists():
        return [path]
    if not has_magic(str(source)):
        raise FileNotFoundError(f"no file or folder {str(source)!r}. {contents(path)}")
    # What exists at the beginning is no pattern, such as a folder set[1].
    folder = next(above for above in path.parents if above.is_dir())
    matches = folder.glob(str(Path(*path.parts[len(folder.parts) :])))
    found = [match for match in sorted(matches) if match.is_dir() or _has(match, suffixes)]
    return [match for match in found if not any(map(is_hidden, _below(folder, match)))]


def _is_litter(path: Path, suffixes: Sequence[str]) -> bool:
    """Return whether a file is what file managers leave behind, which the shell's ``*`` names."""
    return is_hidden(path) and path.is_file() and not _has(path, suffixes)


def _below(folder: Path, path: Path) -> Iterator[Path]:
    """Yield a path and the folders above it, as far as they lie below ``folder``."""
    return takewhile(lambda place: place != folder, (path, *path.parents))


def _files(place: Path, suffixes: Sequence[str], outputs: Sequence[Path]) -> list[Path]:
    """Return a file, or the files of a folder that are not outputs."""
    if not place.is_dir():
        return [place]
    away = [folder for folder in outputs if not _absolute(place).is_relative_to(folder)]
    return [
        file
        for file in files_below(place, suffixes=suffixes)
        if not any(_absolute(file).is_relative_to(folder) for folder in away)
    ]


def _absolute(path: Path) -> Path:
    """Return a path without ``..``; links keep the names that they have."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _has(path: Path, suffixes: Sequence[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes))


def _stem(name: str, suffixes: Sequence[str]) -> str:
    suffix = next((s for s in suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]
