"""A trained network's file: a checkpoint of a run, or the weights in a folder to share."""

from pathlib import Path
from typing import Any

from backbones.weights.card import CONFIG, read_notes
from backbones.weights.read import read_checkpoint


def read_trained(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, or what it would hold: a ``.safetensors`` file's content.

    Such a file has the network's tensors by their own names, and the card and what is known of the
    run as metadata. A ``config.json`` beside it that states another card is a UserError.
    """
    content = read_checkpoint(path)
    if "keel" in content or path.suffix != ".safetensors":
        return content
    notes = read_notes(path)
    state = {f"network.{key}": tensor for key, tensor in content.items()}
    return {"state_dict": state} | {k: v for k, v in notes.items() if k != CONFIG}
