"""Train a segmenter: ``python scripts/train_seg.py data=folder data.root=...``."""

import sys
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig

from tasks.common.run.command_line import check_overrides, exit_on_error, with_text_tables
from tasks.segmentation.config import register_segmentation

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "segmentation"


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="segmentation")
def train(cfg: DictConfig) -> float:
    """Train, test, and return the validation Dice, which a sweep optimises."""
    from tasks.segmentation.run import run

    return exit_on_error(partial(run, cfg))


def main() -> None:
    """Answer typos, then train."""
    register_segmentation()
    sys.argv[1:] = with_text_tables(sys.argv[1:])
    check_overrides(CONFIGS, "segmentation", sys.argv[1:])
    train()


if __name__ == "__main__":
    exit_on_error(main)
