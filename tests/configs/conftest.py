"""The training scripts, and what their configuration files compose to."""

from functools import cache

import pytest
from omegaconf import OmegaConf

from tasks.detection.config import DETECTION
from tasks.segmentation.config import SEGMENTATION

TRAININGS = {training.task: training for training in (DETECTION, SEGMENTATION)}


@pytest.fixture(params=TRAININGS)
def training(request):
    return TRAININGS[request.param]


def options(training):
    """Every file of every group, and what `Training.register` stores."""
    files = [*training.configs.glob("*/*.yaml"), *training.configs.parent.glob("recipe/*.yaml")]
    stored = ["trainer=auto", "feature_cache=frozen", "debug=one_step"]
    return [*sorted(f"{file.parent.name}={file.stem}" for file in files), *stored]


@cache
def composed(task, *overrides):
    """The configuration, every value in it resolved and given; it is not to be changed."""
    cfg = TRAININGS[task].compose(overrides)
    if OmegaConf.missing_keys(cfg) == {"data.root"}:
        cfg.data.root = "/data"
    assert OmegaConf.missing_keys(cfg) == set()
    OmegaConf.resolve(cfg)
    return cfg
