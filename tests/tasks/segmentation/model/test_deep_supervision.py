"""Losses of several levels of the decoder, against their weighted sum by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tasks.segmentation.data.cases import IGNORE
from tasks.segmentation.model.deep_supervision import (
    DeepSupervision,
    deep_supervision_weights,
    resized,
)
from tests.tasks.segmentation.conftest import refuses
from tests.tasks.segmentation.model.conftest import EXCLUSIVE, LAYERED, loss_of, random_batch


@pytest.mark.parametrize(
    ("levels", "weights"),
    [(1, (1,)), (2, (1, 0)), (3, (2 / 3, 1 / 3, 0)), (5, (8 / 15, 4 / 15, 2 / 15, 1 / 15, 0))],
)
def test_levels_are_weighed_by_halves_and_the_coarsest_by_0(levels, weights):
    assert deep_supervision_weights(levels) == pytest.approx(weights)


def test_no_level_is_refused():
    with refuses("deep supervision takes at least 1 level, got 0"):
        deep_supervision_weights(0)


@pytest.mark.parametrize("classes", [EXCLUSIVE, LAYERED])
def test_deep_supervision_adds_the_losses_of_the_levels(classes):
    loss = loss_of(classes)
    sizes = [(12, 20), (6, 10), (3, 5), (2, 3)]
    levels = [random_batch(classes, size)[0] for size in sizes]
    _, labels = random_batch(classes, sizes[0])
    labels[..., :3, :7] = IGNORE
    ours = DeepSupervision(loss)(levels, labels)
    layers = labels.float() if labels.ndim == 4 else labels[:, None].float()
    picked = [F.interpolate(layers, size, mode="nearest-exact").to(torch.uint8) for size in sizes]
    targets = [p if labels.ndim == 4 else p[:, 0] for p in picked]
    each = [loss(level, target) for level, target in zip(levels, targets, strict=True)]
    torch.testing.assert_close(ours, (4 * each[0] + 2 * each[1] + each[2]) / 7)


def test_one_tensor_gets_the_loss_itself():
    loss = loss_of(EXCLUSIVE)
    logits, labels = random_batch(EXCLUSIVE)
    assert DeepSupervision(loss)(logits, labels).item() == loss(logits, labels).item()
    assert DeepSupervision(loss)([logits], labels).item() == loss(logits, labels).item()


@pytest.mark.parametrize("several", [True, False])
def test_the_finest_level_has_the_size_of_the_labels(several):
    logits, labels = torch.zeros(1, 3, 4, 4), torch.zeros(1, 8, 8)
    with refuses(r"got logits \(1, 3, 4, 4\) and labels \(1, 8, 8\)"):
        DeepSupervision(loss_of(EXCLUSIVE))([logits] * 2 if several else logits, labels)


@pytest.mark.parametrize("size_of_weights", [1.0, 3e38, math.inf, math.nan])
def test_the_coarsest_head_has_gradients_of_0_even_if_it_overflows(size_of_weights):
    heads = [nn.Conv2d(2, 3, 1) for _ in range(3)]
    nn.init.constant_(heads[-1].weight, size_of_weights)
    features = [torch.ones(1, 2, size, size) for size in (8, 4, 2)]
    levels = [head(feature) for head, feature in zip(heads, features, strict=True)]
    labels = torch.randint(3, (1, 8, 8))
    loss = DeepSupervision(loss_of(EXCLUSIVE))
    total = loss(levels, labels)
    total.backward()
    assert total.item() == loss([*levels[:2], torch.zeros(1, 3, 2, 2)], labels).item()
    fine, middle, coarse = ([p.grad for p in head.parameters()] for head in heads)
    assert all((gradient == 0).all() for gradient in coarse)
    assert all((gradient != 0).any() for gradient in fine + middle)


def test_levels_whose_size_was_rounded_up_see_the_pixel_under_their_middle():
    """33 rows at stride 16 are 3: the blocks begin at 0, 16 and 32, of which one row is there."""
    rows = torch.arange(33).reshape(1, 33, 1)
    assert resized(rows, 3, 1).flatten().tolist() == [8, 24, 32]
    assert resized(rows, 17, 1).flatten().tolist() == [1 + 2 * k for k in range(16)] + [32]
