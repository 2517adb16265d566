"""A recipe: what follows from it, and what is refused."""

import math

import pytest

from tasks.common.options.limits import limits_of
from tasks.common.recipe.recipe import Recipe


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "devices", "images", "lr"),
    [
        (4, 1, 1, 4, 0.005),  # 0.02 * 4 / 16
        (4, 4, 1, 16, 0.02),
        (2, 3, 8, 48, 0.06),
    ],
)
def test_the_learning_rate_grows_with_the_batch(batch_size, accumulate, devices, images, lr):
    recipe = Recipe(batch_size=batch_size, accumulate=accumulate, lr=0.02, lr_images=16)
    assert recipe.effective_batch(devices) == images
    assert recipe.peak_lr(devices) == pytest.approx(lr)


def test_what_each_field_takes():
    """The limits themselves are tested in test_limits.py."""
    fields = {}
    for name, text in limits_of(Recipe).items():
        fields[text] = [*fields.get(text, []), name]
    assert fields == {
        "an integer of at least 1": ["epochs", "batch_size", "accumulate", "lr_images"],
        "sgd or adamw": ["optimizer"],
        "a number of at least 0": [
            *("lr", "backbone_lr_factor", "weight_decay", "final_lr_factor", "clip", "gate_weight")
        ],
        "a number above 0 and up to 1": ["lr_decay"],
        "a number from 0 to below 1": ["momentum", "ema", "label_smoothing"],
        "an integer of at least 0": ["warmup", "restarts", "frozen_until"],
        "a share from 0 to 1, or null": ["gate_target"],
    }
    with pytest.raises(ValueError, match=r"^recipe\.lr takes a number of at least 0, got nan\.$"):
        Recipe(lr=math.nan)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frozen_until": 12}, "recipe.frozen_until=12 leaves none of recipe.epochs=12 to the"),
        ({"unfreeze": [3]}, r"recipe.unfreeze takes epochs by stage, .* got \[3\]"),
        ({"unfreeze": {"layer3": 2}}, "unknown stage in recipe.unfreeze 'layer3'; Known: c2, c3"),
        ({"unfreeze": {"c4": 0}}, "recipe.unfreeze.c4 takes a number of epochs from 1 to 11, got"),
        ({"unfreeze": {"c4": 12}}, "from 1 to 11, got 12; recipe.epochs is 12"),
        ({"unfreeze": {"c4": 1.5}}, "from 1 to 11, got 1.5"),
        (
            {"unfreeze": {"c4": 2}, "frozen_until": 3},
            "from 3 to 11, got 2; recipe.epochs is 12, recipe.frozen_until 3",
        ),
    ],
)
def test_a_recipe_that_cannot_train_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
