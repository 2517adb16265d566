"""The groups of options that segmentation adds."""

from tasks.common.run.config import register_configs
from tasks.segmentation.data.input import InputOptions
from tasks.segmentation.data.transforms import AugmentOptions
from tasks.segmentation.model.losses import LossOptions
from tasks.segmentation.model.unet import UNetOptions


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
