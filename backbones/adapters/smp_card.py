"""What an encoder of segmentation_models_pytorch says of itself in its state dict."""

import json
from typing import Final

import torch
from torch import Tensor

from backbones import Backbone, Conventions

_BYTES: Final = 1024


def blank() -> Tensor:
    """Return a card that says nothing: zeros, uint8, as long as every card."""
    return torch.zeros(_BYTES, dtype=torch.uint8)


def write(card: Tensor, body: Backbone) -> None:
    """Write a backbone's conventions, frozen stages and provenance, as JSON in UTF-8.

    Args:
        card: Changed in place.
        body: The backbone.
    """
    expected = body.conventions
    content = {
        "mean": expected.mean,
        "std": expected.std,
        "epsilon": expected.epsilon,
        "frozen": body.frozen,
        "provenance": body.provenance.partition("\n")[0].removeprefix("weights from "),
    }
    text = json.dumps(content).encode()
    if len(text) > _BYTES:  # a long path
        text = json.dumps({**content, "provenance": "a file"}).encode()
    if len(text) <= _BYTES and not card.is_meta:  # of some dozen channels
        card.copy_(torch.tensor(list(text.ljust(_BYTES)), dtype=torch.uint8))


def restore(body: Backbone, card: Tensor, *, in_channels: int) -> None:
    """Give a backbone what a card says; stages that are frozen already stay as they are.

    Args:
        body: Changed in place.
        card: As `write` left it; a blank one changes nothing.
        in_channels: Of the backbone.
    """
    if not card.any():
        return
    content = json.loads(bytes(card.tolist()))
    told = Conventions(
        mean=tuple(content["mean"]), std=tuple(content["std"]), epsilon=content["epsilon"]
    )
    body.adopt(told if len(told.mean) == in_channels else told.for_channels(in_channels))
    if not body.frozen:
        body.freeze(min(content["frozen"], len(body.stages())))
    body.provenance = f"a state dict, whose weights were from {content['provenance']}"
