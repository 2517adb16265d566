"""The settings on which losses depend; that they are compared is tested with each task."""

from dataclasses import asdict, dataclass, replace

import pytest

from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.common.run.setup import Setup
from tests.tasks.common.tiny import machine

RECIPE = Recipe(epochs=3)
OPTIONS = TrainerOptions(max_steps=7)


@dataclass(frozen=True)
class Augment:
    flip: float = 0.5


def settings(options=OPTIONS, precision="bf16-mixed", cache=None, drop_path=0.0, frozen=2):
    setup = Setup(
        seed=4,
        recipe=RECIPE,
        options=options,
        where=machine(precision=precision),
        cache=cache or CacheOptions(),
        augment=Augment(),
        choice=BackboneChoice(name="resnet18", drop_path=drop_path),
        init_from="x.ckpt",
        start=None,
    )
    return setup.settings(frozen=frozen, own={"loss": {"name": "ce"}})


def test_the_settings_are_what_the_configuration_calls_it():
    assert settings() == {
        "recipe": asdict(RECIPE),
        "seed": 4,
        "backbone": {"freeze": 2, "drop_path": 0.0},
        "trainer": {
            "devices": 1,
            "max_steps": 7,
            "precision": "bf16",  # as trainer.precision takes it
            "compile": False,
        },
        "cache": {"views": 0, "dtype": "auto"},
        "augment": {"flip": 0.5},
        "init_from": "x.ckpt",
        "loss": {"name": "ce"},
    }


@pytest.mark.parametrize(
    "other",
    [
        {"options": replace(OPTIONS, max_steps=8)},
        {"options": replace(OPTIONS, devices=2)},
        {"options": replace(OPTIONS, compile=True)},
        {"drop_path": 0.2},
        {"frozen": 1},
        {"precision": "32-true"},
        {"precision": "16-mixed"},
        {"cache": CacheOptions(views=2)},
    ],
)
def test_what_changes_the_losses_changes_the_settings(other):
    assert settings(**other) != settings()


@pytest.mark.parametrize(
    "other",
    [
        {"options": replace(OPTIONS, workers=3, threads=2, save_minutes=1.0, cache="none")},
        {"cache": CacheOptions(where="disk", folder="elsewhere")},
    ],
)
def test_what_changes_no_loss_does_not(other):
    assert settings(**other) == settings()
