"""A machine, and what a third task could have: a backbone, a network, its card, its checkpoint."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from backbones import Backbone, BackboneOptions, Conventions
from tasks.common.machine.machine import Machine
from tasks.common.options.decision import Decision
from tasks.common.recipe.stages import STAGES as ALL_STAGES
from tasks.common.resume.card import NetworkCard, TaskNames, card_values

STAGES = ALL_STAGES[:5]


class Tiny(Backbone):
    """Five stages of a convolution and its norm: 3 parameters and 3 buffers each."""

    def __init__(self):
        super().__init__()
        widths = [3, 4, 5, 6, 7, 8]
        for name, (inner, outer) in zip(STAGES, pairwise(widths), strict=True):
            conv = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
            self.add_module(name, nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU()))

    def stages(self):
        return [[self.get_submodule(name)] for name in STAGES]

    def forward(self, x):
        for name in STAGES:
            x = self.get_submodule(name)(x)
        return x


class Network(nn.Module):
    """The backbone and a head of 4 parameters and 3 buffers."""

    def __init__(self, freeze=0):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Tiny().freeze(freeze)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.head(self.norm(self.backbone(x)))


@dataclass(frozen=True, kw_only=True)
class Card(NetworkCard):
    """A card with one field of its own; its network is one layer."""

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


def save(path, card=CARD, network=None, *, settings=None, epochs=1, steps=8):
    """Write a checkpoint as Lightning and `NetworkModule` do; ``card`` may be a dictionary."""
    state = (network or CARD.build()).state_dict()
    content = {
        "state_dict": {f"network.{key}": value for key, value in state.items()},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": epochs}}}},
        "global_step": steps,
        "keel": card.to_dict() if isinstance(card, NetworkCard) else card,
        "keel_run": settings or {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def machine(device="cpu", precision="32-true"):
    """What was decided about a machine."""
    choices = {"accelerator": device, "precision": precision, "cpu": "1 threads"}
    return Machine(**{name: Decision(value, "") for name, value in choices.items()})


def write_video(path, levels, *, code="MJPG", size=(48, 32)):
    """Write a video of 10 frames a second, each of one gray level; skip a test if that fails."""
    form = cv2.VideoWriter.fourcc(*code)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, form, 10.0, size)
    if not writer.isOpened():
        pytest.skip(f"OpenCV cannot write {path.suffix} with {code} here")
    for level in levels:
        writer.write(np.full((size[1], size[0], 3), level, np.uint8))
    writer.release()
    return path
