"""The folder that a run leaves behind: what was run, on what, from which code, with what result."""

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
    "keel-backbones",
    "torch",
    "torchvision",
    "lightning",
    "albumentations",
    "pycocotools",
    "hydra-core",
    "numpy",
)


def new_folder(wanted: str | None, *, parent: Path, name: str) -> Path:
    """Return the path of a new run's folder, which nothing has been written to yet.

    The processes of a distributed run share one folder: the first process leaves its path in the
    environment of those that it starts.

    Args:
        wanted: The path that was asked for; None for a new one with the time in its name.
        parent: Where to put a new one.
        name: How the new one's name ends.

    Raises:
        ValueError: If ``wanted`` holds a run already.
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
    """Write a file at once or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any] | list[Any]) -> None:
    """Write JSON at once or not at all; NaN and infinity, not known to JSON, become null."""
    write_text(path, json.dumps(_finite(values), indent=2) + "\n")


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


def git_state(folder: Path) -> dict[str, str | list[str]]:
    """Return the commit of the code and what was changed since, as far as git tells."""
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _finite(value: Any) -> Any:  # noqa: ANN401 (JSON values)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
