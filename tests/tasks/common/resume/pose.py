"""The card of a third task, whose network is one layer behind no backbone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from backbones import BackboneOptions, Conventions
from tasks.common.resume.card import NetworkCard, TaskNames, card_values


@dataclass(frozen=True, kw_only=True)
class Card(NetworkCard):
    """A card with one field of its own."""

    NAMES: ClassVar = TaskNames(task="pose", noun="poser", script="train_pose.py", runs="runs/pose")

    sizes: tuple[int, ...]

    @classmethod
    def from_dict(cls, card):
        return cls(**card_values(card, in_channels=card["in_channels"]))

    def build(self):
        return nn.Linear(*self.sizes)


CARD = Card(
    backbone="resnet18",
    backbone_options=BackboneOptions(norm="group", deformable=("c5",)),
    conventions=Conventions(mean=(0.1, 0.2, 0.3), epsilon=1e-3),
    provenance="made",
    sizes=(1, 2),
)


def save(path, card=None, settings=None, *, epochs=1, steps=8):
    """Write a checkpoint as Lightning and `NetworkModule` do."""
    state = {f"network.{key}": value for key, value in CARD.build().state_dict().items()}
    loops = {"fit_loop": {"epoch_progress": {"current": {"processed": epochs}}}}
    content = {"state_dict": state, "loops": loops, "global_step": steps}
    card = CARD.to_dict() if card is None else card
    torch.save({**content, "keel": card, "keel_run": settings or {}}, path)
    return path
