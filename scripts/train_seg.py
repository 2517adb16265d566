"""Train a segmenter: ``python scripts/train_seg.py data=folder data.root=...``; see ``--help``."""

from functools import partial

from tasks.common.run.command_line import exit_on_error, train
from tasks.segmentation.config import SEGMENTATION

if __name__ == "__main__":
    exit_on_error(partial(train, SEGMENTATION))
