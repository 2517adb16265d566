"""The options of ``scripts/train_seg.py``."""

from typing import Final

from tasks.common.run.config import Training
from tasks.segmentation.options import (
    AugmentOptions,
    DataOptions,
    InputOptions,
    LossOptions,
    SegmentationOptions,
    UNetOptions,
)

SEGMENTATION: Final = Training(
    script="scripts/train_seg.py",
    task="segmentation",
    title="a segmenter, a U-Net on any backbone; test it, and keep all of it in a run folder",
    run="tasks.segmentation.run.run",
    own={
        "model": UNetOptions,
        "input": InputOptions,
        "loss": LossOptions,
        "augment": AugmentOptions,
    },
    data=DataOptions,
    options=SegmentationOptions,
)
