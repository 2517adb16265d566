"""The images of the run that a checkpoint is of, if they still lie where they were."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from backbones.errors import UserError

T = TypeVar("T")

_CONFIG: Final = "config.yaml"
# A run folder may come from someone else: its configuration calls nothing but Keel's own readers.
_READER: Final = re.compile(r"tasks\.(detection|segmentation)\.data\.layouts\.\w+\.\w+")


def read_run_data(checkpoint: Path, read: Callable[[DictConfig], T]) -> tuple[T | None, str]:
    """Return what ``read`` makes of the run's configuration; or None, and why it cannot be read."""
    config = checkpoint.absolute().parent.parent / _CONFIG
    if not config.is_file():
        return None, f"{checkpoint} lies in no run folder with a {_CONFIG}"
    cfg: Any = OmegaConf.load(config)
    if foreign := [
        target for target in _targets(OmegaConf.to_container(cfg)) if not _READER.fullmatch(target)
    ]:
        return None, f"{config} reads the run's data with {foreign[0]!r}, which is not of Keel"
    try:
        return read(cfg), ""
    except (UserError, OSError, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, UserError | OSError):
            raise
        return None, f"the run's data cannot be read: {str(cause).rstrip('.')}"


def _targets(node: Any) -> list[str]:  # noqa: ANN401 (of any depth)
    """Return every ``_target_``, which Hydra would call, at any depth."""
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [found for value in node.values() for found in _targets(value)]
    return [found for value in node for found in _targets(value)] if type(node) is list else []


def drawn(length: int, count: int, *, seed: int) -> list[int]:
    """Return ``count`` of the numbers below ``length``, or all, at random and in order."""
    order = np.random.default_rng(seed).permutation(length)
    return sorted(int(index) for index in order[:count])
