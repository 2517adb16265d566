"""A variant for each slot and class of the family."""

import pytest
import torch

ONE_OF_EACH = [
    *("resnet18", "resnext50_32x4d", "resnet50_caffe", "resnet34_zero_pad", "resnet18d"),
    *("seresnet18", "ecaresnet50d", "cbam_resnet18", "res2net50_26w_4s", "resnetv2_18"),
    *("resnetv2_50", "resnet20_cifar", "resnetv2_164_cifar", "dynamic_resnet18"),
]


@pytest.fixture(params=ONE_OF_EACH)
def name(request):
    return request.param


@pytest.fixture
def image(name):
    """Two images that every norm can normalise at every stage."""
    torch.manual_seed(3)
    side = 16 if name.endswith("_cifar") else 64
    return torch.rand(2, 3, side, side)
