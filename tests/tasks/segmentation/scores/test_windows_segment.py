"""From slices to labels: the network's own answer, whatever the slices are cut into."""

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from tasks.segmentation.options import InputOptions
from tasks.segmentation.scores.windows import segment

COVERS = InputOptions(patch=(16, 16))


class Network(nn.Module):
    """A convolution that notes what it was given."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(2, classes, 3, padding=1)
        self.seen = []

    def forward(self, x):
        self.seen.append((tuple(x.shape), torch.is_grad_enabled()))
        return self.conv(x)


def slices(count, height=10, width=12):
    return torch.randn(count, 2, height, width)


def best(logits):
    return logits.argmax(dim=1).numpy()


@pytest.mark.parametrize("patch", [(16, 16), (10, 12)])
def test_a_window_that_covers_the_image_gives_the_networks_best_class(patch):
    network, image = Network(), slices(3)
    labels = segment(network, image, InputOptions(patch=patch), exclusive=True)
    assert np.array_equal(labels, best(network.conv(image)))
    assert (labels.shape, labels.dtype) == ((3, 10, 12), np.uint8)
    assert len(np.unique(labels)) == 3


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_volume_is_labelled_slice_by_slice_four_at_a_time(exclusive):
    network, image = Network(), slices(9)
    labels = segment(network, image, COVERS, exclusive=exclusive)
    assert network.seen == [((n, 2, 10, 12), False) for n in (4, 4, 1)]
    alone = [segment(network, one[None], COVERS, exclusive=exclusive) for one in image]
    assert np.array_equal(labels, np.concatenate(alone, axis=0 if exclusive else 1))


def test_overlapping_classes_have_a_layer_each():
    network, image = Network(classes=5), slices(6)
    labels = segment(network, image, COVERS, exclusive=False)
    logits = network.conv(image).detach().numpy()
    assert (labels.shape, labels.dtype) == ((5, 6, 10, 12), np.uint8)
    for index in range(5):
        assert np.array_equal(labels[index], logits[:, index] > 0)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_a_larger_image_is_labelled_by_windows_as_monai_does(overlap):
    network, image = Network(), slices(5, 25, 34)
    labels = segment(network, image, InputOptions(patch=(8, 12), overlap=overlap), exclusive=True)
    expected = sliding_window_inference(
        image, (8, 12), 4, network.conv, overlap=overlap, mode="gaussian", sigma_scale=0.125
    )
    assert np.array_equal(labels, best(expected))
    assert (labels != best(network.conv(image))).any()  # a window's border is not the image's


def test_flips_are_averaged_if_told():
    network, image = Network(), slices(2)
    flipped = segment(network, image, InputOptions(patch=(16, 16), flips=True), exclusive=True)
    flips = [(), (2,), (3,), (2, 3)]
    logits = torch.stack([network.conv(image.flip(axes)).flip(axes) for axes in flips]).mean(dim=0)
    assert np.array_equal(flipped, best(logits))
    assert (flipped != segment(network, image, COVERS, exclusive=True)).any()
