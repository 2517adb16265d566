"""Every configuration file composes, and every experiment trains a step on generated data."""

import csv
import json

import pytest

from tasks.segmentation.data.layouts.sample import write_sample
from tasks.segmentation.options import (
    AugmentOptions,
    DataOptions,
    InputOptions,
    LossOptions,
    UNetOptions,
)
from tasks.segmentation.run import run
from tests.configs.conftest import Task

GROUPS = {
    "model": UNetOptions,
    "input": InputOptions,
    "loss": LossOptions,
    "augment": AugmentOptions,
    "data": DataOptions,
}
TASK = Task("segmentation", "scripts/train_seg.py", GROUPS)


@pytest.fixture(autouse=True)
def _hydra():
    with TASK.hydra():
        yield


@pytest.mark.parametrize("option", TASK.options)
def test_every_file_composes_to_values_that_our_classes_take(option):
    TASK.check_option(option)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.norm", "instance"),
        ("model.deep_supervision", True),
        ("data.fold", 0),
        ("input.neighbours", 2),
        ("loss.name", "tversky"),
        ("augment.elastic", 4.0),
        ("backbone.freeze", 3),
    ],
)
def test_a_group_can_be_set_from_the_command_line(key, value):
    group, _, field = key.partition(".")
    assert TASK.composed(f"{key}={value}")[group][field] == value


def test_a_class_table_can_be_given_on_the_command_line():
    cfg = TASK.composed("data=folder", "data.classes={0: background, 255: cell}")
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
def test_stages_to_unfreeze_can_be_named_on_the_command_line(overrides, expected):
    assert TASK.composed(*overrides).recipe.unfreeze == expected


def test_a_shared_recipe_builds_upon_the_tasks_own():
    plain, ema = (dict(TASK.composed(o).recipe) for o in ("recipe=finetune", "recipe=ema"))
    assert {key for key in plain if plain[key] != ema[key]} == {"ema"}


@pytest.mark.parametrize("name", TASK.experiments)
def test_an_experiment_says_its_command_and_what_to_expect(name):
    TASK.check_header(name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "data"
    return write_sample(root, images={"train": 4, "val": 2, "test": 2}, size=64)


@pytest.mark.parametrize("name", TASK.experiments)
def test_every_experiment_takes_a_training_step(name, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEEL_RUN_DIR", "")  # restored after the test
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    cfg = TASK.composed(
        f"experiment={name}",
        "debug=one_step",
        f"data.root={data}",
        "data.classes=null",
        "data.val=[val_*]",
        "data.test=[test_*]",
        "backbone.weights=random",
        "input.patch=[64,64]",
        "recipe.batch_size=2",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
        f"run_dir={tmp_path / 'run'}",
    )
    assert 0 <= run(cfg) <= 1
    folder = tmp_path / "run"
    assert (folder / "predictions.png").is_file()
    assert "train/loss" in capsys.readouterr().out
    with (folder / "cases.csv").open() as file:
        assert {row["case"] for row in csv.DictReader(file)} == {"test_0000", "test_0001"}
    assert json.loads((folder / "metrics.json").read_text())["scored split"] == "test"
