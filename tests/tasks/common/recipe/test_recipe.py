"""A recipe: what follows from it, and what is refused."""

import math

import pytest

from tasks.common.recipe.recipe import Recipe


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "devices", "images", "lr"),
    [
        (4, 1, 1, 4, 0.005),  # 0.02 * 4 / 16
        (4, 4, 1, 16, 0.02),
        (2, 3, 8, 48, 0.06),
    ],
)
def test_the_learning_rate_is_scaled_with_the_effective_batch(
    batch_size, accumulate, devices, images, lr
):
    recipe = Recipe(batch_size=batch_size, accumulate=accumulate, lr=0.02, lr_images=16)
    assert recipe.effective_batch(devices) == images
    assert recipe.peak_lr(devices) == pytest.approx(lr)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "recipe.epochs takes an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "recipe.batch_size takes an integer of at least 1, got 2.5"),
        ({"accumulate": "4"}, "recipe.accumulate takes an integer of at least 1, got '4'"),
        ({"lr_images": -1}, "recipe.lr_images takes an integer of at least 1, got -1"),
        ({"lr": -0.1}, "recipe.lr takes a number of at least 0, got -0.1"),
        ({"lr": math.nan}, "recipe.lr takes a number of at least 0, got nan"),
        ({"lr": math.inf}, "recipe.lr takes a number of at least 0, got inf"),
        ({"weight_decay": "1e-4"}, "recipe.weight_decay takes a number of at least 0, got '1e-4'"),
        ({"warmup": -1}, "recipe.warmup takes an integer of at least 0, got -1"),
        ({"clip": -1.0}, "recipe.clip takes a number of at least 0"),
        ({"backbone_lr_factor": -1.0}, "recipe.backbone_lr_factor takes a number of at least 0"),
        ({"final_lr_factor": -0.1}, "recipe.final_lr_factor takes a number of at least 0"),
        ({"momentum": 1.0}, "recipe.momentum takes a number from 0 to below 1, got 1.0"),
        ({"restarts": 1.5}, "recipe.restarts takes an integer of at least 0, got 1.5"),
        ({"epochs": True}, "recipe.epochs takes an integer of at least 1, got True"),
        ({"lr_decay": 0}, "recipe.lr_decay takes a number above 0 and up to 1, got 0"),
        ({"lr_decay": 1.1}, "recipe.lr_decay takes a number above 0 and up to 1, got 1.1"),
        ({"ema": 1}, "recipe.ema takes a number from 0 to below 1, got 1"),
        (
            {"label_smoothing": 1.0},
            "recipe.label_smoothing takes a number from 0 to below 1",
        ),
        ({"label_smoothing": -0.1}, "recipe.label_smoothing takes a number from 0 to below 1"),
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
        ({"optimizer": "adam"}, "unknown recipe.optimizer 'adam'; did you mean 'adamw'"),
    ],
)
def test_a_recipe_that_cannot_train_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
