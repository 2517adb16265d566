"""A convolution computed before the upsampling is the one after it."""

from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from backbones.layers.norm import norm_factory
from tasks.segmentation.model import unet
from tasks.segmentation.model.unet import DecoderBlock
from tasks.segmentation.model.upsampled import convolve_upsampled
from tasks.segmentation.options import UNetOptions


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def upsampled_first(x, skip, weight, bias):
    x = F.interpolate(x, scale_factor=2, mode="nearest")
    return F.conv2d(x if skip is None else torch.cat([x, skip], 1), weight, bias, padding=1)


@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
@pytest.mark.parametrize("skips", [0, 2])
@pytest.mark.parametrize("with_bias", [False, True])
def test_result_and_gradients_are_those_after_upsampling(size, skips, with_bias):
    torch.manual_seed(0)
    height, width = size
    skip = draw(2, skips, 2 * height, 2 * width) if skips else None
    bias = draw(5) if with_bias else None
    given = draw(2, 3, height, width), skip, draw(5, 3 + skips, 3, 3), bias
    leaves = [t for t in given if t is not None]
    found, expected = convolve_upsampled(*given), upsampled_first(*given)
    torch.testing.assert_close(found, expected)
    toward = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(out, leaves, toward) for out in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("skips", [0, 2])
def test_autocast_computes_in_its_type_all_of_it(skips):
    torch.manual_seed(0)
    skip = torch.randn(2, skips, 6, 8) if skips else None
    given = torch.randn(2, 3, 3, 4), skip, torch.randn(5, 3 + skips, 3, 3), torch.randn(5)
    exact = upsampled_first(*given)
    with torch.autocast("cpu", torch.bfloat16):
        found, theirs = convolve_upsampled(*given), upsampled_first(*given)
    assert found.dtype == theirs.dtype == torch.bfloat16
    errors = [(out.float() - exact).square().mean().sqrt().item() for out in (found, theirs)]
    assert errors[0] < 1.5 * errors[1]  # the parts of x and of the skip are each rounded


def block(*, norm="batch", channels=3, **options):
    torch.manual_seed(0)
    options = UNetOptions(norm=norm, **options)
    made = DecoderBlock(
        channels, 2, out_channels=16, factor=2, norm=norm_factory(norm), options=options
    )
    return made.double()


def takes_it(made):
    """What a block returns, and whether it took the faster way."""
    torch.manual_seed(1)
    x, skip = draw(2, made.conv1[0].in_channels - 2, 4, 5), draw(2, 2, 8, 10)
    with mock.patch.object(unet, "convolve_upsampled", side_effect=convolve_upsampled) as called:
        out = made(x, skip)
    return out, called.called


@pytest.mark.parametrize("norm", ["batch", "frozen_batch", "group", "none"])
@pytest.mark.parametrize("training", [False, True])
def test_a_block_gives_the_same_either_way(norm, training):
    made = block(norm=norm).train(training)
    state = {key: value.clone() for key, value in made.state_dict().items()}
    found, fast = takes_it(made)
    after = {key: value.clone() for key, value in made.state_dict().items()}
    made.load_state_dict(state)
    made.upsample.register_forward_hook(lambda *_: None)
    expected, still = takes_it(made)
    assert (fast, still) == (True, False)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(after, made.state_dict())  # running statistics


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.conv1.register_forward_hook(lambda *_: None),
        lambda made: made.conv1[0].register_forward_pre_hook(lambda *_: None),
        lambda made: made.conv1[1].register_full_backward_hook(lambda *_: None),
        lambda made: made.attention1.register_forward_hook(lambda *_: None),
        lambda made: setattr(made, "upsample", torch.nn.Upsample(scale_factor=2, mode="bilinear")),
        lambda made: setattr(made.conv1[0], "forward", made.conv1[0].forward),
    ],
)
def test_what_is_not_plain_is_called_as_it_is(change):
    made = block()
    change(made)
    assert not takes_it(made)[1]


@pytest.mark.parametrize("options", [{"upsampling": "transposed"}, {"attention": "scse"}])
def test_other_decoders_are_computed_as_they_are(options):
    assert not takes_it(block(channels=30, **options))[1]
