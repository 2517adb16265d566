"""From the ``data`` group of the configuration to splits whose image files were decoded once."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tasks.detection.data.images import checked_range
from tasks.detection.data.labelled import Parts
from tasks.detection.data.splits import Splits, divide
from tasks.detection.options import DataOptions


def read_splits(node: DictConfig, *, policy: Literal["error", "skip"]) -> Splits:
    """Return the data set that the ``data`` group names, checked."""
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    names = {field.name for field in fields(DataOptions)}
    options = DataOptions(**{key: value for key, value in values.items() if key in names})
    given = checked_range(options.range)
    parts: Parts = instantiate({k: v for k, v in values.items() if k not in names})
    return divide(parts, options).checked(policy, exif=options.exif, range_=given)
