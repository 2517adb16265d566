"""Every configuration file composes to values that our classes take, and can be overridden."""

import re
import shlex
from dataclasses import fields

import pytest

from backbones import list_backbones
from tasks.common.run.config import plain_values
from tasks.detection.config import DETECTION
from tasks.detection.model.faster_rcnn import HEADS
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.losses import LOSSES
from tasks.segmentation.model.unet import ATTENTION, UPSAMPLING
from tasks.segmentation.options import LossOptions, UNetOptions
from tests.configs.conftest import TRAININGS, composed, each_option


@pytest.mark.parametrize(("task", "option"), each_option())
def test_every_file_composes_to_values_that_our_classes_take(task, option):
    training = TRAININGS[task]
    cfg = composed(training, option)
    training.check(cfg)
    for group, made in training.groups.items():
        assert set(cfg[group]) == {field.name for field in fields(made)}


@pytest.mark.parametrize("name", list_backbones())
def test_every_registered_backbone_is_an_option(name):
    assert composed(DETECTION, f"backbone={name}").backbone.name == name


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


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("detection", "backbone.in_channels", 1),
        ("detection", "recipe.batch_size", 3),
        ("detection", "recipe.batch_size", "auto"),
        ("detection", "trainer.workers", 3),
        ("detection", "trainer.workers", "auto"),
        ("detection", "model.min_size", 77),
        ("detection", "augment.vertical_flip", 0.25),
        ("detection", "augment.scale", [0.5, 2.0]),
        ("segmentation", "model.norm", "instance"),
        ("segmentation", "model.deep_supervision", True),
        ("segmentation", "data.fold", 0),
        ("segmentation", "input.neighbours", 2),
        ("segmentation", "loss.name", "tversky"),
        ("segmentation", "augment.elastic", 4.0),
        ("segmentation", "backbone.freeze", 3),
    ],
)
def test_a_group_can_be_set_from_the_command_line(task, key, value):
    """The schema of a frozen dataclass would be read-only."""
    group, _, field = key.partition(".")
    assert composed(TRAININGS[task], f"{key}={value}")[group][field] == value


def test_a_class_table_can_be_given_on_the_command_line():
    table = "data.classes={0: background, 255: cell}"
    cfg = composed(TRAININGS["segmentation"], "data=folder", table)
    assert cfg.data.classes == {0: "background", 255: "cell"}


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
    assert composed(training, *overrides).recipe.unfreeze == expected


def test_a_shared_recipe_builds_upon_the_tasks_own(training):
    plain, ema = (
        plain_values(composed(training, f"recipe={o}").recipe) for o in ("finetune", "ema")
    )
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
        composed(training, *overrides)
