"""Backbones as folders in the hub's layout: saved with what they expect, and built again."""

import os
from collections.abc import Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from backbones.fusion import fused_error, is_fused
from backbones.interface import Backbone
from backbones.lineage import lineage_text
from backbones.options import BackboneOptions
from backbones.registry import build_backbone
from backbones.weights.card import check_card, read_notes
from backbones.weights.locate import locate
from backbones.weights.write import backbone_card, write_folder

_README: Final = """---
library_name: keel
tags:
- backbone
---

# {name}

A backbone of Keel. `config.json` says how it was built and what it expects of an image: {order}
in [0, 1], mean {mean}, std {std}.

```python
from backbones import from_pretrained

backbone = from_pretrained("this folder, or hf:owner/name")
```

**Lineage**: {lineage}

**Licence**: not stated; the owner of the weights adds it here, with the licences of the weights and
data in the lineage in mind.
"""


def save_pretrained(backbone: Backbone, folder: str | PathLike[str]) -> Path:
    """Write a backbone of `build_backbone` to a folder, in the hub's layout; return the folder.

    That is ``model.safetensors``, which states how the backbone was built, what it expects of an
    image and its lineage, ``config.json`` with the same, and ``README.md`` without a licence, which
    you add. The folder appears whole or not at all. `from_pretrained`, and ``weights=<folder>`` of
    `build_backbone`, read it; so does ``backbone.weights=<folder>`` of a run.

    Raises:
        UserError: If ``build_backbone`` did not make the backbone, if `fuse` has changed it, or if
            the folder holds other files.
    """
    if is_fused(backbone):
        raise fused_error(f"this {type(backbone).__name__}")
    if not backbone.registered_name:
        raise UserError(
            f"this {type(backbone).__name__} does not know the name it was built by; expected a "
            "backbone of build_backbone. Build it by its registered name, and load its state dict."
        )
    card = backbone_card(
        backbone.registered_name,
        backbone.options,
        backbone.conventions,
        lineage=backbone.lineage,
        provenance=lineage_text(backbone.lineage),
        stride_in_1x1=backbone.stride_in_1x1,
    )
    check_card(card, of=f"this {type(backbone).__name__}")
    mean, std = (" ".join(f"{value:.4g}" for value in card[name]) for name in ("mean", "std"))
    readme = _README.format(
        name=card["backbone"],
        order=card["channel_order"],
        mean=mean,
        std=std,
        lineage=card["provenance"],
    )
    return write_folder(Path(folder), backbone.file_state(), {"keel": card}, readme=readme)


def from_pretrained(
    source: str | PathLike[str],
    *,
    freeze: int = 0,
    out_features: Sequence[str] | None = None,
) -> Backbone:
    """Build the backbone of a folder of `save_pretrained` or of a backbone file, weights loaded.

    Args:
        source: The folder, the ``.safetensors`` file, or ``hf:owner/name`` with ``@revision`` if
            wanted.
        freeze: How many stages to freeze; see `Backbone.freeze`.
        out_features: Which feature maps to return; None for those it was saved with.

    Raises:
        UserError: If the file does not state a backbone, states a value that no backbone has, or
            does not fit it, or if ``config.json`` was edited.
        FileNotFoundError: If there is no such file or folder.
        ConnectionError: If a repository has to be downloaded and cannot be.
    """
    text = os.fspath(source)
    weights = text if text.startswith("hf:") else Path(text).expanduser()
    if isinstance(weights, Path) and not weights.exists():
        raise FileNotFoundError(
            f"no folder or weight file {text!r}; expected one, or hf:<owner/name>."
        )
    path = locate(weights, name="").path
    card = read_notes(path).get("keel", {})
    if card.get("task") != "backbone":
        what = f"a network of the task {card['task']}" if "task" in card else "no backbone of Keel"
        raise UserError(
            f"{path} holds {what}; expected what save_pretrained wrote of a backbone. Use "
            "build_backbone(name, weights=...) for the backbone in any other file."
        )
    check_card(card, of=str(path), needed=("backbone", "norm", "in_channels", "mean", "std"))
    names = {field.name for field in fields(BackboneOptions)}
    options: dict[str, Any] = {k: v for k, v in card.items() if k in names}
    if out_features is not None:
        options["out_features"] = out_features
    return build_backbone(card["backbone"], weights=weights, freeze=freeze, **options)
