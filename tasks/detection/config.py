"""The groups of options that detection adds."""

from tasks.common.config import register_configs
from tasks.detection.model import DetectorOptions
from tasks.detection.transforms import AugmentOptions


def register_detection() -> None:
    """Tell Hydra every option of ``scripts/train_det.py``."""
    register_configs({"model": DetectorOptions(), "augment": AugmentOptions()})
