"""Segmenters whose answer is known, and their cards."""

import torch
from torch import nn

from backbones import BackboneOptions, Conventions
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.options import InputOptions, UNetOptions


class Made(nn.Module):
    """Gives the logits that a function makes of the input; a parameter says where it computes."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return torch.stack(self.logits(images), dim=1)


def made_card(classes, *, channels=1, neighbours=0, gray_or_rgb=False):
    seen = channels * (2 * neighbours + 1)
    return SegmenterCard(
        backbone="resnet18",
        backbone_options=BackboneOptions(norm="group", in_channels=seen),
        channels=channels,
        options=UNetOptions(norm="group"),
        classes=classes,
        input=InputOptions(normalisation="imagenet", patch=(32, 32), neighbours=neighbours),
        axis=-1,
        conventions=Conventions(mean=(0.0,) * seen, std=(1.0,) * seen),
        provenance="made",
        gray_or_rgb=gray_or_rgb,
    )
