"""Weight files: fetched whole or not at all, and read without running anything in them."""

import hashlib
import os
import pickle
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch.hub import download_url_to_file


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a ``.safetensors`` or torch file holds, tensors on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weight file {str(path)!r}; expected a .pth, .pt, .ckpt or .safetensors file."
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, or is no torch file; it was not "
            "read, because reading it could run code. Save it again with torch.save(state_dict)."
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


def fetch(url: str, *, sha256: str, path: Path) -> Path:
    """Return ``path`` with the file at ``url`` in it, downloading it once.

    The download goes to a temporary file beside it, shows its progress, and takes the name only
    when its hash is right; a file that is there already is checked as well.

    Args:
        url: Where the file is.
        sha256: The first hexadecimal digits of its hash.
        path: Where to keep it.

    Raises:
        ValueError: If the file at ``path`` has another hash.
        ConnectionError: If ``KEEL_OFFLINE`` is set, or the download fails.
    """
    if not path.exists():
        try:
            if os.environ.get("KEEL_OFFLINE", "0") not in ("", "0"):
                raise URLError("KEEL_OFFLINE is set")
            path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(path), hash_prefix=sha256)
        except (OSError, RuntimeError, HTTPException) as error:
            raise ConnectionError(
                f"cannot download {url} ({error}). Do one of three things: copy that file to "
                f"{path}; give a file of your own, backbone.weights=/path/to/file.pth; or train "
                "from random initialisation, backbone.weights=random."
            ) from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256):
        raise ValueError(
            f"{path} has the sha256 {digest[: len(sha256)]}..., expected {sha256}...; delete it, "
            "and the next run downloads it again."
        )
    return path
