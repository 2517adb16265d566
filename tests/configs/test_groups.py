"""Every configuration file composes to values that our classes take, and can be overridden."""

import re
import shlex
from dataclasses import fields

import pytest

from backbones import list_backbones
from tasks.common.run.config import plain_values
from tasks.detection.model.faster_rcnn import HEADS
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.attention import ATTENTION
from tasks.segmentation.model.losses import LOSSES
from tasks.segmentation.model.unet import UPSAMPLING
from tasks.segmentation.options import LossOptions, UNetOptions
from tests.configs.conftest import TRAININGS, composed, options


@pytest.mark.parametrize(
    ("task", "option"),
    [(task, option) for task in TRAININGS for option in options(TRAININGS[task])],
)
def test_every_file_composes_to_values_that_our_classes_take(task, option):
    training, cfg = TRAININGS[task], composed(task, option)
    training.check(cfg)
    for group, made in training.groups.items():
        assert set(cfg[group]) == {field.name for field in fields(made)}


FIRST, *REST = list_backbones()


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(n, marks=pytest.mark.slow) for n in REST)])
def test_every_registered_backbone_is_an_option(name):
    assert composed("detection", f"backbone={name}").backbone.name == name


def test_the_names_that_options_take_are_those_of_the_tables():
    """The options are checked before the tables can be imported, which need torch."""
    for made, field, table in (
        (DetectorOptions, "head", HEADS),
        (LossOptions, "name", LOSSES),
        (UNetOptions, "attention", ATTENTION),
        (UNetOptions, "upsampling", UPSAMPLING),
    ):
        (known,) = (f.metadata["limit"].names for f in fields(made) if f.name == field)
        assert set(known) == set(table)


SET = {
    "detection": {
        "backbone": {"in_channels": 1},
        "recipe": {"batch_size": 3},
        "trainer": {"workers": "auto"},
        "model": {"min_size": 77},
        "augment": {"vertical_flip": 0.25, "scale": [0.5, 2.0]},
    },
    "segmentation": {
        "backbone": {"freeze": 3},
        "recipe": {"batch_size": "auto"},
        "trainer": {"workers": 3},
        "model": {"norm": "instance", "deep_supervision": True},
        "data": {"fold": 0, "classes": {0: "background", 255: "cell"}},
        "input": {"neighbours": 2},
        "loss": {"name": "tversky"},
        "augment": {"elastic": 4.0},
    },
}


@pytest.mark.parametrize(("task", "layout"), [("detection", "coco"), ("segmentation", "folder")])
def test_options_of_every_group_can_be_set_from_the_command_line(task, layout):
    """The schema of a frozen dataclass would be read-only."""
    pairs = [(group, key, value) for group, of in SET[task].items() for key, value in of.items()]
    options = (f"{group}.{key}={value}" for group, key, value in pairs)
    cfg = composed(task, f"data={layout}", *options)
    for group, key, value in pairs:
        assert cfg[group][key] == value


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["recipe.unfreeze={c5: 1}"], {"c5": 1}),
        (["recipe=gradual"], {"c5": 1, "c4": 2, "c3": 4}),
        (["recipe=gradual", "recipe.unfreeze.c2=5"], {"c5": 1, "c4": 2, "c3": 4, "c2": 5}),
        (["recipe=gradual", "~recipe.unfreeze.c3"], {"c5": 1, "c4": 2}),
    ],
)
def test_stages_to_unfreeze_can_be_named_on_the_command_line(training, overrides, expected):
    assert composed(training.task, *overrides).recipe.unfreeze == expected


def test_a_shared_recipe_builds_upon_the_tasks_own(training):
    recipes = (composed(training.task, f"recipe={name}").recipe for name in ("finetune", "ema"))
    plain, ema = map(plain_values, recipes)
    assert {key for key in plain if plain[key] != ema[key]} == {"ema"}


def test_an_experiment_says_its_command_its_time_and_what_to_expect(training):
    files = sorted(training.configs.glob("experiment/*.yaml"))
    assert files
    for file in files:
        text = file.read_text()
        assert re.search(r"^#   time: +\d+ (seconds|minutes|hours)", text, re.MULTILINE)
        assert re.search(r"^#   expect: .*\d\.\d{2,}", text, re.MULTILINE)
        (command,) = re.findall(r"^#   run: +(.*)$", text, re.MULTILINE)
        python, script, *overrides = shlex.split(re.sub(r"<[^>]*>", "/x", command))
        assert (python, script) == ("python", training.script)
        assert f"experiment={file.stem}" in overrides
        composed(training.task, *overrides)
