"""Norms by name; the oracles are the formulas of the papers, written out."""

import pytest
import torch
from torch import nn

from backbones import NORMS, norm_factory
from backbones.layers.norm import fixed_affine

EPSILON = 1e-5


def normalised(x, dims):
    """Zero mean and unit variance over ``dims``, the variance with the biased estimate."""
    mean = x.mean(dims, keepdim=True)
    return (x - mean) / (x.var(dims, unbiased=False, keepdim=True) + EPSILON).sqrt()


@pytest.fixture
def x():
    """Maps whose mean and spread differ by sample and by channel."""
    offset = torch.arange(3.0)[:, None, None, None] - torch.arange(12.0)[:, None, None]
    return torch.randn(3, 12, 5, 7) * (1 + offset.abs()) + offset


def affine(norm):
    """Give the norm a scale and a shift that matter; return both as (C, 1, 1)."""
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.uniform_(norm.bias, -1.0, 1.0)
    return norm.weight[:, None, None], norm.bias[:, None, None]


@pytest.mark.parametrize(
    ("name", "dims"), [("batch", (0, 2, 3)), ("instance", (2, 3)), ("layer2d", (1, 2, 3))]
)
def test_a_norm_is_its_formula_and_is_affine(name, dims, x):
    norm = norm_factory(name)(12).train()
    scale, shift = affine(norm)
    expected = normalised(x, dims) * scale + shift
    torch.testing.assert_close(norm(x), expected)
    assert norm.weight.shape == (12,)  # whatever the height and the width
    if name != "batch":
        torch.testing.assert_close(norm.eval()(x), expected)
        assert list(norm.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(256, 32), (64, 32), (32, 32), (48, 16), (24, 8), (12, 4), (6, 2), (7, 1), (1, 1)],
)
def test_group_norm_takes_32_groups_or_the_most_that_divide(channels, groups):
    norm = norm_factory("group")(channels)
    scale, shift = affine(norm)
    x = torch.randn(2, channels, 4, 5) * torch.arange(1.0, channels + 1)[:, None, None]
    split = x.unflatten(1, (groups, -1))
    expected = normalised(split, (2, 3, 4)).flatten(1, 2) * scale + shift
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("name", ["batch", "frozen_batch", "sync_batch"])
def test_batch_norms_with_fixed_statistics_agree_and_are_a_scale_and_a_shift(name, x):
    reference = norm_factory("batch")(12).train()
    affine(reference)
    reference(x)  # moves the statistics
    norm = norm_factory(name)(12).eval()
    norm.load_state_dict(reference.state_dict(), strict=True)
    expected = reference.eval()(x)
    torch.testing.assert_close(norm(x), expected)
    scale, shift = (t[:, None, None] for t in fixed_affine(norm))
    torch.testing.assert_close(x * scale + shift, expected)


def test_a_frozen_batch_norm_has_nothing_to_train_and_never_moves(x):
    norm = norm_factory("frozen_batch")(12).train()
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    norm(x)
    assert list(norm.parameters()) == []
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)


def test_no_norm_is_the_identity_and_has_no_state(x):
    norm = norm_factory("none")(12)
    assert norm(x) is x
    assert list(norm.state_dict()) == []


def test_the_table_is_what_these_tests_cover():
    names = "batch frozen_batch group instance layer2d none sync_batch"
    assert sorted(NORMS) == names.split()


@pytest.mark.parametrize("name", ["batch", "sync_batch", "group", "instance", "layer2d", "none"])
def test_statistics_that_move_are_not_a_scale_and_a_shift(name):
    assert fixed_affine(norm_factory(name)(12).train()) is None
