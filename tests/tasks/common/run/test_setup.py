"""The settings on which losses depend; that they are compared is tested with each task."""

from dataclasses import asdict, dataclass, replace

import pytest

from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.common.run.setup import Setup
from tests.tasks.common.fakes import machine

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
        # The precision as trainer.precision takes it.
        "trainer": {"devices": 1, "max_steps": 7, "precision": "bf16", "compile": False},
        "cache": {"views": 0, "dtype": "auto"},
        "augment": {"flip": 0.5},
        "init_from": "x.ckpt",
        "loss": {"name": "ce"},
    }


NO_LOSS = {"workers": 3, "threads": 2, "save_minutes": 1.0, "cache": "none"}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"options": replace(OPTIONS, max_steps=8)}, False),
        ({"options": replace(OPTIONS, devices=2)}, False),
        ({"options": replace(OPTIONS, compile=True)}, False),
        ({"drop_path": 0.2}, False),
        ({"frozen": 1}, False),
        ({"precision": "32-true"}, False),
        ({"precision": "16-mixed"}, False),
        ({"cache": CacheOptions(views=2)}, False),
        ({"options": replace(OPTIONS, **NO_LOSS)}, True),
        ({"options": replace(OPTIONS, grad_checkpointing=True)}, True),
        ({"cache": CacheOptions(where="disk", folder="elsewhere")}, True),
    ],
)
def test_what_changes_the_losses_changes_the_settings_and_nothing_else_does(other, same):
    assert (settings(**other) == settings()) == same
