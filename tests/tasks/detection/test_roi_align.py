import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from tasks.detection.roi_align import PyramidRoIAlign

LEVELS = ["p2", "p3", "p4", "p5"]


def _map(size):
    return torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def pyramid():
    sizes = {"p2": (160, 224), "p3": (80, 112), "p4": (40, 56), "p5": (20, 28)}
    return {name: _map(size) for name, size in sizes.items()}


@pytest.fixture
def boxes():
    """From 2 px to the whole image, some reaching over its border, on every level."""
    corner = torch.rand(60, 2, dtype=torch.float64) * 640 - 20
    side = 2.0 ** (torch.rand(60, 2, dtype=torch.float64) * 9 + 1)
    boxes = torch.cat([corner, corner + side], dim=1)
    return [boxes[:25], boxes[25:]]


SHAPES = [(640, 896), (600, 800)]


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_features_and_gradients_are_those_of_torchvision(pyramid, boxes, ratio):
    theirs = MultiScaleRoIAlign(LEVELS, 7, ratio)(pyramid, boxes, SHAPES)
    ours = PyramidRoIAlign(LEVELS, 7, sampling_ratio=ratio)(pyramid, boxes, SHAPES)
    torch.testing.assert_close(ours, theirs)

    upstream = torch.randn_like(theirs)
    maps = list(pyramid.values())
    expected = torch.autograd.grad(theirs, maps, upstream)
    found = torch.autograd.grad(ours, maps, upstream)
    assert all(gradient.any() for gradient in expected), "a level was not pooled from"
    torch.testing.assert_close(found, expected)


def test_no_box_at_all_gives_no_feature_and_a_gradient_of_zero(pyramid):
    none = torch.zeros(0, 4, dtype=torch.float64)
    pooled = PyramidRoIAlign(LEVELS, 7)(pyramid, [none, none], SHAPES)
    assert pooled.shape == (0, 3, 7, 7)
    gradients = torch.autograd.grad(pooled.sum(), list(pyramid.values()))
    assert not any(gradient.any() for gradient in gradients)


def test_under_autocast_the_pooling_is_in_float32_and_rounded_once(pyramid, boxes):
    low = {name: level.bfloat16() for name, level in pyramid.items()}
    full = {name: level.double() for name, level in low.items()}
    expected = MultiScaleRoIAlign(LEVELS, 7, 2)(full, boxes, SHAPES)
    with torch.autocast("cpu", torch.bfloat16):
        found = PyramidRoIAlign(LEVELS, 7)(low, [b.float() for b in boxes], SHAPES)
    # Rounded once, at the end, to the features' 8 bits, as torchvision does; the sampling points
    # are rounded to float32, 1e-5 px at 200 px.
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 256), (256, 40)])
def test_the_padding_of_a_strip_changes_no_level(shape):
    """Padded from 40 to 64, a scale by the short side would be wrong by a factor of 2."""
    padded = [64 if side == 40 else side for side in shape]
    strides = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
    maps = {name: _map([side // stride for side in padded]) for name, stride in strides.items()}
    boxes = [torch.tensor([[3.0, 2.0, 30.0, 25.0], [0.0, 0.0, 36.0, 38.0]]).double()] * 2
    theirs = MultiScaleRoIAlign(LEVELS, 7, 2)(maps, boxes, [tuple(padded)] * 2)
    ours = PyramidRoIAlign(LEVELS, 7, sampling_ratio=2)(maps, boxes, [shape] * 2)
    torch.testing.assert_close(ours, theirs)
