"""A backbone of five convolutions, a network with it, and a machine."""

from itertools import pairwise

import torch
from torch import nn

from backbones import Backbone
from tasks.common.machine.machine import Machine
from tasks.common.options.decision import Decision
from tasks.common.recipe.stages import STAGES as ALL_STAGES

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


def machine(device="cpu", precision="32-true"):
    """What was decided about a machine."""
    choices = {"accelerator": device, "precision": precision, "cpu": "1 threads"}
    return Machine(**{name: Decision(value=value, reason="") for name, value in choices.items()})
