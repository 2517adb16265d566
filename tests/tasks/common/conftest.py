"""What the tests of a recipe share: a network with a backbone and a head."""

import torch
from torch import nn

from backbones import build_backbone


class Network(nn.Module):
    """A backbone with a small head: a weight, a bias and a norm."""

    def __init__(self, freeze=0):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build_backbone("resnet18", weights="random", freeze=freeze)
        self.norm = nn.BatchNorm2d(512)
        self.head = nn.Conv2d(512, 2, 1)

    def forward(self, x):
        return self.head(self.norm(self.backbone(x)["c5"]))
