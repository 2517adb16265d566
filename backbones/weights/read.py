"""Read weight files and the JSON files beside them, without running anything in them."""

import json
import pickle
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import load, load_file

from backbones.errors import UserError
from backbones.weights.formats import foreign, is_pickle, is_safetensors, is_torchs, unpacked
from backbones.weights.numpy_pickle import NUMPY_GLOBALS, read_pickle, with_tensors

_INDEX: Final = (".safetensors.index.json", ".bin.index.json")  # of files in several parts
_BESIDE: Final = ("config.json", "preprocessor_config.json")  # in a folder of the hub


class ForeignFileError(UserError):
    """A file of a known type that cannot be read here."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a weight file, tensors on the CPU, NumPy arrays as tensors.

    It reads ``.safetensors`` files, files of torch.save and pickles of NumPy arrays, under any
    name, compressed by xz, gzip or bzip2 or not, and the index of a file in several parts. A file
    that is broken or holds more than tensors, arrays and plain values is a ValueError.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weight file {str(path)!r}; expected a .pth, .pt, .ckpt, .pkl or .safetensors file."
        )
    try:
        checkpoint = _parts(path) if path.name.endswith(_INDEX) else _read(path)
    except (ForeignFileError, FileNotFoundError):
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise UserError(
            f"{path} holds more than tensors and plain values{what}, or is no torch file; it was "
            "not read, because reading it could run code. Save it again with torch.save(state_dict)"
            ", where you trust it."
        ) from error
    except Exception as error:  # the parsers raise a dozen kinds on damage, KeyError among them
        # torch's text advises to read the file unsafely
        cause = type(error).__name__ if "weights_only" in str(error) else repr(error)
        raise UserError(
            f"{path} is truncated or damaged, or no weight file ({cause}); fetch it again."
        ) from error
    if isinstance(checkpoint, Mapping):
        return dict(checkpoint)
    raise UserError(
        f"{path} holds a {type(checkpoint).__name__}, expected a state dict. Save one with "
        "torch.save(model.state_dict(), path)."
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """Return a ``.safetensors`` file's metadata, and by name the JSON files beside any file."""
    texts: dict[str, str] = {}
    with path.open("rb") as content:
        is_one = is_safetensors(content)
    if is_one:
        with safe_open(path, framework="pt") as file:
            texts |= file.metadata() or {}
    beside = [path.with_name(name) for name in _BESIDE]
    texts |= {f.name: f.read_text("utf-8", errors="replace") for f in beside if f.is_file()}
    return {name: value for name, text in texts.items() for value in _json(text)}


def _read(path: Path) -> Any:  # noqa: ANN401 (whatever it holds)
    with path.open("rb") as file:
        inner = unpacked(file)
        content = file if inner is None else inner
        if (found := foreign(content)) is not None:
            what, advice = found
            inside = ", under its compression," if inner is not None else ""
            raise ForeignFileError(f"{path}{inside} is {what}; {advice}.")
        suffix = "" if is_torchs(content) or is_pickle(content) else path.suffix
        if is_safetensors(content) or suffix == ".safetensors":
            return load_file(path) if inner is None else load(inner.read())
        if is_pickle(content) or suffix == ".pkl":
            return read_pickle(content)
        # Training scripts save their arguments and scores too; reading them runs nothing.
        with torch.serialization.safe_globals([Namespace, *NUMPY_GLOBALS]):
            return with_tensors(torch.load(content, map_location="cpu", weights_only=True))


def _parts(index: Path) -> dict[str, Any]:
    table = json.loads(index.read_text("utf-8")).get("weight_map", {})
    found: dict[str, Any] = {}
    for name in sorted(set(table.values())):
        if PurePath(name).name != name:
            raise ForeignFileError(f"{index} names {name!r}; expected files beside it.")
        found |= read_checkpoint(index.with_name(name))
    return found


def _json(text: str) -> Iterator[dict[str, Any]]:
    with suppress(ValueError):
        if isinstance(value := json.loads(text), dict):
            yield value
