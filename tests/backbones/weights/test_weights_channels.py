"""What weights expect of an image: its channels, its mean and std, and the norms' epsilon."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter

from backbones import Conventions, build_backbone
from backbones.weights.load import adapt_first_conv


def build(**options):
    """The stem and the first stage."""
    return build_backbone("resnet18", **{"out_features": ["c1", "c2"]} | options)


def same(found, expected):
    """Equal, but for the rounding that another order of summation makes."""
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("in_channels", "expected"),
    [
        (1, [6.0]),
        (2, [1.5, 3.0]),
        (3, [1.0, 2.0, 3.0]),
        (4, [0.75, 1.5, 2.25, 0.75]),
        (7, [3 / 7, 6 / 7, 9 / 7, 3 / 7, 6 / 7, 9 / 7, 3 / 7]),
    ],
)
def test_a_first_convolution_is_summed_for_one_channel_and_cycled_for_more(in_channels, expected):
    weight = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(8, 3, 7, 7)
    found = adapt_first_conv(weight, in_channels)
    assert found.shape == (8, in_channels, 7, 7)
    torch.testing.assert_close(found[3, :, 2, 5], torch.tensor(expected))


@pytest.mark.parametrize(
    ("in_channels", "mean", "std"),
    [
        (1, (0.449,), (0.226,)),
        (4, (0.485, 0.456, 0.406, 0.485), (0.229, 0.224, 0.225, 0.229)),
    ],
)
def test_mean_and_std_follow_the_channels(shallow, save, in_channels, mean, std):
    card = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "epsilon": 0.1}
    path = save({"state_dict": shallow, "keel": card})
    backbone = build(weights=path, in_channels=in_channels)
    assert backbone.conv1.weight.shape == (64, in_channels, 7, 7)
    assert backbone.conventions.mean == pytest.approx(mean)
    assert backbone.conventions.std == pytest.approx(std)
    assert backbone.conventions.epsilon == 0.1


def test_a_gray_image_gives_what_its_copy_in_three_channels_gave(shallow, save):
    path, image = save(shallow), torch.randn(1, 1, 64, 64)
    file = {"weights": path, "conventions": "imagenet"}
    gray = build(**file, in_channels=1).eval()
    colour = build(**file).eval()
    with torch.no_grad():
        same(gray(image), colour(image.expand(1, 3, 64, 64)))


@pytest.mark.parametrize("norm", ["batch", "sync_batch", "frozen_batch"])
def test_conventions_and_epsilon_come_from_the_file(theirs, shallow, save, norm):
    card = {"mean": [0.5], "std": [0.25], "epsilon": 0.1}
    gray = shallow | {"conv1.weight": shallow["conv1.weight"].sum(1, keepdim=True)}
    path = save({"state_dict": gray, "keel": card})
    backbone = build(norm=norm, weights=path, in_channels=1).eval()
    assert backbone.conventions == Conventions(mean=(0.5,), std=(0.25,), epsilon=0.1)

    reference = copy.deepcopy(theirs)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.1
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = IntermediateLayerGetter(reference, {"relu": "c1", "layer1": "c2"})
        same(backbone(image), expected(image.expand(1, 3, 64, 64)))
