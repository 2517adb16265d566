"""The options of ``scripts/train_det.py``."""

from typing import Final

from tasks.common.run.config import Training
from tasks.detection.options import AugmentOptions, DataOptions, DetectorOptions

DETECTION: Final = Training(
    script="scripts/train_det.py",
    task="detection",
    title="a detector, Faster R-CNN on any backbone; test it, and keep all of it in a run folder",
    run="tasks.detection.run.run",
    own={"model": DetectorOptions, "augment": AugmentOptions},
    data=DataOptions,
)
