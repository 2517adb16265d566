"""The groups of options that segmentation adds."""

from tasks.common.run.config import register_configs
from tasks.segmentation.options import (
    AugmentOptions,
    DataOptions,
    InputOptions,
    LossOptions,
    UNetOptions,
)


def register_segmentation() -> None:
    """Tell Hydra every option of ``scripts/train_seg.py``."""
    register_configs(
        {
            "model": UNetOptions(),
            "input": InputOptions(),
            "loss": LossOptions(),
            "augment": AugmentOptions(),
            "data": DataOptions(),
        }
    )
