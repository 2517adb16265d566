"""The folder of a run: its path, and the files that describe it."""

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.files.atomic import replacing
from tasks.common.machine.machine import describe

_SHARED: Final = "KEEL_RUN_DIR"
_MOST_NAMED: Final = 50  # changed files
_PACKAGES: Final = (
    *("keel-backbones", "torch", "torchvision", "lightning", "albumentations"),
    *("pycocotools", "hydra-core", "numpy"),
)


def new_folder(wanted: str | None, *, parent: Path, name: str) -> Path:
    """Return the path of a new run's folder, without making it; refuse one that holds a run.

    The processes of a distributed run share one, through the environment.
    """
    if "LOCAL_RANK" in os.environ and _SHARED in os.environ:
        return Path(os.environ[_SHARED])
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folder = Path(wanted) if wanted else parent / f"{stamp}_{name.replace('/', '_')}"
    if (folder / "config.yaml").exists():
        raise UserError(f"run_dir={wanted!r} holds a run already; choose another folder.")
    os.environ[_SHARED] = str(folder)
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(
    path: Path, values: Mapping[str, Any] | list[Any], *, indent: int | None = 2
) -> None:
    """Write JSON completely or not at all; NaN and infinity become null.

    Without an ``indent`` it is one line, written many times as fast.
    """
    write_text(path, json.dumps(finite(values), indent=indent) + "\n")


def write_environment(folder: Path) -> None:
    """Write ``environment.json``: command, time, versions, git state and machine."""
    write_json(
        folder / "environment.json",
        {
            "command": shlex.join([Path(sys.executable).name, *sys.argv]),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "python": sys.version.split()[0],
            "versions": {name: _version(name) for name in _PACKAGES},
            "git": git_state(Path(__file__).parent),
            **describe(),
        },
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # on PYTHONPATH
        return "not installed"


def git_state(folder: Path) -> dict[str, str | list[str]]:
    """Return the commit of the code and which files have changed since."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {"commit": "unknown", "changed files": "unknown"}
    changed = _git(folder, "diff", "--name-only", "HEAD").splitlines()
    return {"commit": commit, "changed files": str(len(changed)), "changed": changed[:_MOST_NAMED]}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "-C", str(folder), *arguments],  # noqa: S607 (whichever git the user has)
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def finite(value: Any) -> Any:  # noqa: ANN401 (JSON values)
    """Return a value with None for NaN and infinity, at every depth, and keys as texts."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
