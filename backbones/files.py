"""Weight files, and what lies beside them: read without running anything in them."""

import json
import pickle
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from backbones.pickles import NUMPY_GLOBALS, read_pickle, with_tensors

_ZIP: Final = b"PK"
_LEGACY: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save's files begin: today's, and those before torch 1.6."""

_BESIDE: Final = ("config.json", "preprocessor_config.json")
"""What a hub keeps in the folder of a weight file."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a weight file holds, tensors on the CPU, NumPy arrays as tensors.

    ``.safetensors`` files, whatever torch.save wrote, and a ``.pkl`` of NumPy arrays are read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, or holds more than tensors, arrays and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weight file {str(path)!r}; expected a .pth, .pt, .ckpt, .pkl or .safetensors file."
        )
    try:
        checkpoint = _read(path)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise ValueError(
            f"{path} holds more than tensors and plain values{what}, or is no torch file; it was "
            "not read, because reading it could run code. Save it again with torch.save(state_dict)"
            ", where you trust it."
        ) from error
    except Exception as error:  # the parsers meet damage with a dozen kinds, KeyError among them
        raise ValueError(
            f"{path} is truncated or damaged, or no weight file ({error!r}); fetch it again."
        ) from error
    if isinstance(checkpoint, Mapping):
        return dict(checkpoint)
    raise ValueError(
        f"{path} holds a {type(checkpoint).__name__}, expected a state dict. Save one with "
        "torch.save(model.state_dict(), path)."
    )


def read_notes(path: Path) -> dict[str, Any]:
    """Return what is written about a weight file: its own metadata, and JSON files of a hub.

    Args:
        path: A file that `read_checkpoint` could read.

    Returns:
        The metadata of a ``.safetensors`` file, JSON objects parsed; and under their names the
        ``config.json`` and ``preprocessor_config.json`` beside any file.
    """
    notes: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        notes |= {key: found for key, text in metadata.items() for found in _json(text)}
    beside = [path.with_name(name) for name in _BESIDE]
    texts = {f.name: f.read_text("utf-8", errors="replace") for f in beside if f.is_file()}
    return notes | {name: found for name, text in texts.items() for found in _json(text)}


def _read(path: Path) -> Any:  # noqa: ANN401 (whatever it holds)
    if path.suffix == ".safetensors":
        return load_file(path)
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
        file.seek(0)
        if path.suffix == ".pkl" and not start.startswith((_ZIP, _LEGACY)):
            return read_pickle(file)
    # Training scripts keep their arguments and scores beside the weights; neither runs anything.
    with torch.serialization.safe_globals([Namespace, *NUMPY_GLOBALS]):
        return with_tensors(torch.load(path, map_location="cpu", weights_only=True))


def _json(text: str) -> Iterator[dict[str, Any]]:
    """Yield the object that a text holds, if it holds one."""
    try:
        value = json.loads(text)
    except ValueError:
        return
    if isinstance(value, dict):
        yield value
