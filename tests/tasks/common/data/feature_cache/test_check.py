"""Runs that cannot have a feature cache."""

import pytest

from backbones import build_backbone
from tasks.common.data.feature_cache.check import check_feature_cache
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe


def check(backbone, *, views=2, unfreeze=None, **options):
    recipe, options = Recipe(epochs=4, unfreeze=unfreeze or {}), TrainerOptions(**options)
    check_feature_cache(CacheOptions(views=views), backbone, recipe=recipe, options=options)


@pytest.mark.parametrize(
    ("name", "freeze", "options", "message"),
    [
        ("resnet18", 2, {}, r"at least 3 frozen stages, and 2 are frozen: add backbone.freeze=3"),
        ("dynamic_resnet18", 3, {}, "without gates, whose shares are part of the loss"),
        ("resnet18", 4, {"unfreeze": {"c4": 1}}, r"stages that stay frozen: leave out recipe\.unf"),
        ("resnet18", 3, {"compile": True}, r"does not compile; leave out trainer\.compile"),
        ("resnet18", 3, {"views": 5}, r"at most as many views as there are epochs, 4"),
        ("resnet18", 3, {"devices": 2}, r"takes trainer.devices=1, got 2"),
    ],
)
def test_runs_that_can_have_none_are_told_why(name, freeze, options, message):
    backbone = build_backbone(name, weights="random", freeze=freeze)
    with pytest.raises(ValueError, match=rf"feature_cache.views=\d .*{message}"):
        check(backbone, **options)
    # Frozen stages are in eval mode, where stochastic depth does nothing.
    check(build_backbone("resnet18", weights="random", freeze=3, drop_path=0.5))
