"""Every configuration file composes, and every experiment trains a step on generated data."""

import pytest

from backbones import list_backbones
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.options import AugmentOptions, DataOptions, DetectorOptions
from tasks.detection.run import run
from tests.configs.conftest import Task

TASK = Task(
    "detection",
    "scripts/train_det.py",
    {"model": DetectorOptions, "augment": AugmentOptions, "data": DataOptions},
)


@pytest.fixture(autouse=True)
def _hydra():
    with TASK.hydra():
        yield


@pytest.mark.parametrize("option", TASK.options)
def test_every_file_composes_to_values_that_our_classes_take(option):
    TASK.check_option(option)


def test_there_is_a_file_of_each_kind():
    groups = {option.partition("=")[0] for option in TASK.options}
    assert groups >= {"augment", "data", "experiment", "model", "recipe"}


@pytest.mark.parametrize("name", list_backbones())
def test_every_registered_backbone_is_an_option(name):
    assert TASK.composed(f"backbone={name}").backbone.name == name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone.in_channels", 1),
        ("recipe.epochs", 77),
        ("recipe.batch_size", 3),
        ("recipe.batch_size", "auto"),
        ("trainer.workers", 3),
        ("trainer.workers", "auto"),
        ("model.min_size", 77),
        ("augment.vertical_flip", 0.25),
        ("augment.color_jitter", 0.2),
        ("augment.scale", [0.5, 2.0]),
        ("augment.shift", 0.1),
    ],
)
def test_a_group_can_be_set_from_the_command_line(key, value):
    """The schema of a frozen dataclass would be read-only."""
    group, _, field = key.partition(".")
    assert TASK.composed(f"{key}={value}")[group][field] == value


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
    return write_sample(root, images={"train": 4, "val": 2}, size=64)


@pytest.mark.parametrize("name", TASK.experiments)
def test_every_experiment_takes_a_training_step(name, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEEL_RUN_DIR", "")  # restored after the test
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    cfg = TASK.composed(
        f"experiment={name}",
        "debug=one_step",
        "data=coco",
        f"data.root={data}",
        "data.train=annotations/instances_train.json",
        "data.val=annotations/instances_val.json",
        "data.train_images=images",
        "data.test=null",
        "backbone.weights=random",
        "model.min_size=64",
        "model.max_size=96",
        "recipe.batch_size=2",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
        f"run_dir={tmp_path / 'run'}",
    )
    assert 0 <= run(cfg) <= 1
    assert (tmp_path / "run" / "predictions.png").is_file()
    assert "train/loss" in capsys.readouterr().out
