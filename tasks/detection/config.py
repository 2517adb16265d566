"""The groups of options that detection adds."""

from tasks.common.run.config import register_configs
from tasks.detection.options import AugmentOptions, DataOptions, DetectorOptions


def register_detection() -> None:
    """Tell Hydra every option of ``scripts/train_det.py``."""
    groups = {"model": DetectorOptions(), "augment": AugmentOptions(), "data": DataOptions()}
    register_configs(groups)
