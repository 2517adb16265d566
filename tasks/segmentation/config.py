"""The groups of options that segmentation adds."""

from tasks.common.config import register_configs
from tasks.segmentation.input import InputOptions
from tasks.segmentation.losses import LossOptions
from tasks.segmentation.transforms import AugmentOptions
from tasks.segmentation.unet import UNetOptions


def register_segmentation() -> None:
    """Tell Hydra every option of ``scripts/train_seg.py``."""
    register_configs(
        {
            "model": UNetOptions(),
            "input": InputOptions(),
            "loss": LossOptions(),
            "augment": AugmentOptions(),
        }
    )
