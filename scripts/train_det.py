"""Train a detector: ``python scripts/train_det.py data=coco data.root=...``; see ``--help``."""

from functools import partial

from tasks.common.run.command_line import exit_on_error, train
from tasks.detection.config import DETECTION

if __name__ == "__main__":
    exit_on_error(partial(train, DETECTION))
