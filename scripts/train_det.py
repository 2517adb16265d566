"""Train a detector: ``python scripts/train_det.py backbone=resnet50 data=coco data.root=...``."""

import sys
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig

from tasks.common.run.command_line import check_overrides, exit_on_error
from tasks.detection.config import register_detection

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "detection"


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="detection")
def train(cfg: DictConfig) -> float:
    """Train, test, and return the validation AP, which a sweep optimises."""
    from tasks.detection.run import run

    return exit_on_error(partial(run, cfg))


def main() -> None:
    """Answer typos, then train."""
    register_detection()
    check_overrides(CONFIGS, "detection", sys.argv[1:])
    train()


if __name__ == "__main__":
    exit_on_error(main)
