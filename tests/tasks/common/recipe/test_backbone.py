"""The choices that are left to us, each with its reason."""

import pytest
import torch

from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import choose_freeze, choose_norm, coarsest_stride
from tasks.common.recipe.recipe import Recipe


@pytest.mark.parametrize(
    ("weights", "norm", "batch_size", "value", "reason"),
    [
        ("imagenet", "auto", 2, "frozen_batch", "loaded statistics are kept"),
        ("imagenet", "auto", 64, "frozen_batch", "loaded statistics are kept"),
        ("random", "auto", 7, "group", "no weights, 7 images per batch"),
        (None, "auto", 1, "group", "no weights, 1 images per batch"),
        ("random", "auto", 8, "batch", "no weights to keep statistics of"),
        ("imagenet", "batch", 2, "batch", "as configured"),
        ("random", "frozen_batch", 2, "frozen_batch", "as configured"),
    ],
)
def test_the_norm_follows_from_weights_and_batch(weights, norm, batch_size, value, reason):
    choice = BackboneChoice(name="resnet18", weights=weights, norm=norm)
    decision = choose_norm(choice, batch_size=batch_size)
    assert (decision.value, decision.reason) == (value, reason)


@pytest.mark.parametrize(
    ("weights", "freeze", "usual", "unfreeze", "value", "reason"),
    [
        ("imagenet", "auto", 2, {}, "2", "of loaded weights"),
        ("/a/b.pth", "auto", 2, {}, "2", "of loaded weights"),
        ("imagenet", "auto", 0, {}, "0", "loaded weights learn, statistics stay"),
        ("random", "auto", 2, {}, "0", "no weights were loaded"),
        (None, "auto", 2, {}, "0", "no weights were loaded"),
        ("imagenet", 0, 2, {}, "0", "as configured"),
        ("random", 3, 2, {}, "3", "as configured"),
        ("imagenet", "auto", 2, {"c3": 2, "c4": 1}, "4", "the recipe unfreezes them down to c4"),
        ("imagenet", 5, 2, {"c3": 2, "c4": 1}, "5", "as configured"),
        ("random", "auto", 2, {"c4": 1}, "0", "no weights were loaded"),
    ],
)
def test_frozen_stages_follow_from_the_weights(weights, freeze, usual, unfreeze, value, reason):
    choice = BackboneChoice(name="resnet18", weights=weights, freeze=freeze)
    decision = choose_freeze(choice, usual=usual, recipe=Recipe(unfreeze=unfreeze))
    assert (decision.value, decision.reason) == (value, reason)


def test_another_freeze_and_weights_of_an_unset_variable_are_refused():
    """An empty string would train from scratch, with its random stages frozen."""
    for freeze in ("two", "2", 1.5, None):
        message = rf"takes an integer of .*, or auto, got {freeze!r}\.$"
        with pytest.raises(ValueError, match=message):
            BackboneChoice(name="resnet18", freeze=freeze)
    with pytest.raises(ValueError, match="a tag such as imagenet, a file, or random, got ''"):
        BackboneChoice(name="resnet18", weights="")


@pytest.mark.parametrize(
    ("name", "output_stride", "coarsest"),
    [
        ("resnet18", 32, 32),
        ("resnet18", 16, 16),
        ("resnet50", 8, 8),
        ("resnet20_cifar", 32, 4),
        ("wrn_40_4", 32, 4),
        ("timm/resnet18", 16, 16),
        ("timm/vit_tiny_patch16_224", 32, 16),
    ],
)
def test_the_coarsest_stride_is_that_of_the_backbone(name, output_stride, coarsest):
    choice = BackboneChoice(name=name, output_stride=output_stride)
    before = torch.random.get_rng_state()
    assert coarsest_stride(choice, norm="batch") == coarsest
    assert torch.equal(torch.random.get_rng_state(), before)
