"""The images of the run that a checkpoint is of, if they still lie where they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from omegaconf import DictConfig, OmegaConf

from backbones.errors import UserError

T = TypeVar("T")

_CONFIG: Final = "config.yaml"


def read_run_data(checkpoint: Path, read: Callable[[DictConfig], T]) -> tuple[T | None, str]:
    """Return what ``read`` makes of the run's configuration; or None, and why it cannot be read."""
    config = checkpoint.absolute().parent.parent / _CONFIG
    if not config.is_file():
        return None, f"{checkpoint} lies in no run folder with a {_CONFIG}"
    try:
        cfg = OmegaConf.load(config)
        return read(cfg), ""  # type: ignore[arg-type]
    except (UserError, OSError) as error:
        return None, f"the run's data cannot be read: {str(error).rstrip('.')}"


def drawn(length: int, count: int, *, seed: int) -> list[int]:
    """Return ``count`` of the numbers below ``length``, or all, at random and in order."""
    order = np.random.default_rng(seed).permutation(length)
    return sorted(int(index) for index in order[:count])
