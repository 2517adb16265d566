"""Every configuration file composes, and every experiment trains a step on generated data."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from backbones import list_backbones
from tasks.common.backbone import BackboneChoice
from tasks.common.config import register_configs
from tasks.common.optim import Recipe
from tasks.common.trainer import TrainerOptions
from tasks.detection.model import DetectorOptions
from tasks.detection.run import run
from tasks.detection.sample import write_sample

CONFIGS = Path(__file__).parents[2] / "configs" / "detection"
OPTIONS = sorted(f"{file.parent.name}={file.stem}" for file in CONFIGS.glob("*/*.yaml"))
OPTIONS += ["trainer=auto", "debug=one_step"]  # stored by `register_configs`
EXPERIMENTS = sorted(file.stem for file in (CONFIGS / "experiment").glob("*.yaml"))
SCHEMAS = {
    "backbone": BackboneChoice,
    "recipe": Recipe,
    "trainer": TrainerOptions,
    "model": DetectorOptions,
}


@pytest.fixture(autouse=True)
def _hydra():
    register_configs({"model": DetectorOptions()})
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        yield


def composed(*overrides):
    """The configuration, every value in it resolved and given."""
    cfg = compose("detection", overrides=list(overrides))
    if OmegaConf.missing_keys(cfg) == {"data.root"}:
        cfg.data.root = "/data"
    assert OmegaConf.missing_keys(cfg) == set()
    OmegaConf.resolve(cfg)
    return cfg


@pytest.mark.parametrize("option", OPTIONS)
def test_every_file_composes_to_values_that_our_classes_take(option):
    cfg = composed(option)
    Recipe(**cfg.recipe)
    TrainerOptions(**cfg.trainer)
    BackboneChoice(**cfg.backbone)
    DetectorOptions(**cfg.model)


def test_there_is_a_file_of_each_kind():
    groups = {option.partition("=")[0] for option in OPTIONS}
    assert groups >= {"augment", "data", "experiment", "model", "recipe"}


@pytest.mark.parametrize("name", list_backbones())
def test_every_registered_backbone_is_an_option(name):
    assert composed(f"backbone={name}").backbone.name == name


@pytest.mark.parametrize("group", SCHEMAS)
def test_the_keys_of_a_group_are_the_fields_of_its_class(group):
    assert set(composed()[group]) == {field.name for field in fields(SCHEMAS[group])}


@pytest.mark.parametrize("group", SCHEMAS)
def test_a_group_can_be_set_from_the_command_line(group):
    """The schema of a frozen dataclass would be read-only."""
    key, value = {
        "backbone": ("in_channels", 1),
        "recipe": ("epochs", 77),
        "trainer": ("workers", 3),
        "model": ("min_size", 77),
    }[group]
    assert composed(f"{group}.{key}={value}")[group][key] == value


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.startswith("augment=")])
def test_every_augmentation_can_be_made(option):
    assert instantiate(composed(option).augment) is not None


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_its_command_and_what_to_expect(name):
    text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
    assert re.search(r"^#   time: +\d+ (seconds|minutes|hours)", text, re.MULTILINE)
    assert re.search(r"^#   expect: .*\d\.\d{2,}", text, re.MULTILINE)
    (command,) = re.findall(r"^#   run: +(.*)$", text, re.MULTILINE)
    python, script, *overrides = shlex.split(re.sub(r"<[^>]*>", "/x", command))
    assert (python, script) == ("python", "scripts/train_det.py")
    assert f"experiment={name}" in overrides
    composed(*overrides)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "data"
    return write_sample(root, images={"train": 4, "val": 2}, size=64)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_takes_a_training_step(name, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEEL_RUN_DIR", "")  # restored after the test
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    cfg = composed(
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
