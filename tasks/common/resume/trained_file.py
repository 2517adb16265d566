"""A trained network's file: a checkpoint of a run, or the weights in a folder to share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from backbones.weights.read import read_checkpoint, read_metadata

_CONFIG: Final = "config.json"


def read_trained(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, or what it would hold: a ``.safetensors`` file's content.

    Such a file has the network's tensors by their own names, and the card and what is known of the
    run as metadata. A ``config.json`` beside it that states another card is a UserError.
    """
    content = read_checkpoint(path)
    if "keel" in content or path.suffix != ".safetensors":
        return content
    notes: Mapping[str, Any] = read_metadata(path)
    beside = notes.get(_CONFIG, {}).get("keel")
    if "keel" in notes and beside is not None and beside != notes["keel"]:
        differ = sorted(
            key
            for key in beside.keys() | notes["keel"].keys()
            if json.dumps(beside.get(key)) != json.dumps(notes["keel"].get(key))
        )
        raise UserError(
            f"{path.with_name(_CONFIG)} differs from what {path.name} states of itself in "
            f"{', '.join(differ)}; expected the same. Restore it: changes are not read from there."
        )
    state = {f"network.{key}": tensor for key, tensor in content.items()}
    return {"state_dict": state} | {k: v for k, v in notes.items() if k != _CONFIG}
