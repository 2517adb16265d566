"""Train a detector: ``python scripts/train_det.py backbone=resnet50 data=coco data.root=...``."""

import hydra
from omegaconf import DictConfig

from tasks.detection.config import register_configs

register_configs()


@hydra.main(version_base="1.3", config_path="../configs", config_name="detection")
def main(cfg: DictConfig) -> float:
    """Train, test, and return the validation AP, which a sweep optimises."""
    from tasks.detection.run import run

    return run(cfg)


if __name__ == "__main__":
    main()
