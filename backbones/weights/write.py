"""Write weights to share: a file that says what they expect, and folders in the hub's layout."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import torch
from safetensors.torch import save_file
from torch import Tensor

from backbones.errors import UserError
from backbones.lineage import Lineage
from backbones.names import WEIGHTS
from backbones.options import BackboneOptions, Conventions
from backbones.weights.card import CONFIG, FORMAT

_README: Final = "README.md"
_OWN: Final = {WEIGHTS, CONFIG, _README}
_ONLY_IN_TRAINING: Final = ("drop_path", "init")


def keel_version() -> str:
    """Return the version of Keel, or an empty string where its package is not installed."""
    try:
        return version("keel-backbones")
    except PackageNotFoundError:  # on PYTHONPATH
        return ""


def backbone_card(
    name: str,
    options: BackboneOptions,
    conventions: Conventions,
    *,
    lineage: Lineage,
    provenance: str,
    stride_in_1x1: bool | None,
) -> dict[str, Any]:
    """Return what a file states of the backbone in it, in plain values.

    ``name`` and ``options`` build it. ``mean`` and ``std`` are for RGB images in [0, 1], whatever
    file the weights were in at first.
    """
    built = {k: v for k, v in asdict(options).items() if k not in _ONLY_IN_TRAINING}
    listed = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(conventions).items()}
    order = {1: "gray", 3: "RGB"}.get(options.in_channels, "as in training")
    return {
        "task": "backbone",
        "format": FORMAT,
        "backbone": name,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in built.items()},
        **listed,
        "range": [0.0, 1.0],
        "channel_order": order,
        "stride_in_1x1": stride_in_1x1,
        "provenance": provenance,
        "lineage": [asdict(step) for step in lineage],
    }


def write_weights(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write tensors to a ``.safetensors`` file, with JSON objects by name as its metadata."""
    own = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in state.items()
    }
    texts = {name: json.dumps(value, allow_nan=False) for name, value in metadata.items()}
    path.touch()
    mode = path.stat().st_mode
    save_file(own, path, metadata={"format": "pt", **texts})
    path.chmod(mode)  # safetensors lets only the owner read


def write_folder(
    folder: Path,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, Mapping[str, Any]],
    *,
    readme: str,
) -> Path:
    """Write ``model.safetensors``, ``config.json`` and ``README.md``, all or nothing; return path.

    ``metadata`` goes into the weight file, its entry ``keel`` into ``config.json`` too. A folder
    that holds anything but an unchanged folder of this function is a UserError.
    """
    _check_free(folder)
    with _replacing(folder) as new:
        write_weights(new / WEIGHTS, state, metadata)
        (new / _README).write_text(readme, encoding="utf-8")
        config = {
            "library_name": "keel",
            "keel_version": keel_version(),
            "readme_sha256": hashlib.sha256(readme.encode()).hexdigest(),
            "keel": metadata["keel"],
        }
        (new / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected a folder to write to.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not there:
        return
    if others := sorted(there - _OWN):
        raise UserError(
            f"{folder} holds other files, such as {others[0]!r}, and would be replaced; give a new "
            "or an empty folder."
        )
    if not _is_unchanged(folder):
        raise UserError(
            f"{folder} was not written by save_pretrained, or its {_README} was edited, and would "
            "be replaced; give another folder, or move it away."
        )


def _is_unchanged(folder: Path) -> bool:
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        digest = hashlib.sha256((folder / _README).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("readme_sha256") == digest


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a folder beside ``folder`` that takes its place on success."""
    folder = folder.resolve()  # a link to a folder stays a link
    new, old = (folder.with_name(f".{folder.name}.{uuid4().hex}") for _ in range(2))
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
