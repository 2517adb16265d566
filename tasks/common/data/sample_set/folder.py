"""Write the folder of a generated data set completely or not at all, over no other files."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from backbones.errors import UserError

SETTINGS_FILE: Final = "sample.json"

Settings = dict[str, Any]
"""What a folder was generated with, by which ``generator``."""

Files = Callable[[Settings], set[str]]
"""Returns the files of a folder with these settings, without ``sample.json``."""


def sample_settings(
    images: Mapping[str, int], *, generator: str, version: int, size: int, seed: int
) -> Settings:
    """Return the settings of a generated data set; refuse those out of range.

    A generator whose settings give other bytes than before has a new ``version``.
    """
    for split, count in images.items():
        if not split.isidentifier() or count < 1:
            raise UserError(
                f"images has {split!r}: {count!r}; expected an identifier and at least 1 image; "
                "leave the split out if it is not wanted."
            )
    if not images or size < 64 or seed < 0:
        raise UserError(
            f"got {len(images)} splits, size={size!r} and seed={seed!r}; expected at least one "
            "split, size 64 or more and seed 0 or more; the defaults fit."
        )
    ours = {"generator": generator, "version": version}
    return ours | {"images": dict(images), "size": size, "seed": seed}


def write_once(
    root: Path, settings: Settings, *, files: Files, write: Callable[[Path], None]
) -> None:
    """Write a folder with ``sample.json``, unless a complete one with these settings exists.

    ``files`` names its files, or those of an earlier one by its settings; ``write`` fills a new,
    empty folder with them. A folder of the same generator that is incomplete or has other settings
    is replaced; a link to it stays a link. One with other files, or a file, is a FileExistsError.
    """
    target = root.resolve()
    if _complete(target, settings, files):
        return
    _refuse_foreign(target, settings["generator"], files)
    partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        write(partial)
        (partial / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")
        _publish(partial, target, complete=lambda: _complete(target, settings, files))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _recorded(root: Path, generator: str) -> Settings:
    """Return the settings in ``sample.json``, if they are of this generator."""
    try:
        settings = json.loads((root / SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    ours = isinstance(settings, dict) and settings.get("generator") == generator
    return settings if ours else {}


def _complete(root: Path, settings: Settings, files: Files) -> bool:
    same = _recorded(root, settings["generator"]) == settings
    return same and all((root / name).is_file() for name in files(settings))


def _refuse_foreign(root: Path, generator: str, files: Files) -> None:
    if not root.exists():
        return
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()}
    recorded = _recorded(root, generator)
    foreign = sorted(found - (files(recorded) | {SETTINGS_FILE} if recorded else set()))
    if foreign or not root.is_dir():
        what = f"holds {foreign[0]!r}" if foreign else "is a file"
        raise FileExistsError(
            f"{root} {what}, which the sample generator did not write; expected a folder of its "
            "own, an empty one or none; name another folder or move this one away."
        )


def _publish(partial: Path, root: Path, *, complete: Callable[[], bool]) -> None:
    """Rename ``partial`` to ``root``, unless another process has completed it meanwhile."""
    old = partial.with_suffix(".old")
    if root.exists() and not complete():
        root.rename(old)
    try:
        if not root.exists():
            partial.rename(root)
    except OSError:
        if not complete():
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
