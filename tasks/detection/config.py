"""The groups of options that detection adds."""

from tasks.common.run.config import register_configs
from tasks.detection.options import AugmentOptions, DetectorOptions


def register_detection() -> None:
    """Tell Hydra every option of ``scripts/train_det.py``."""
    register_configs({"model": DetectorOptions(), "augment": AugmentOptions()})
