"""From the ``data`` group of the configuration to splits whose image files were decoded once."""

from typing import Literal

from omegaconf import DictConfig

from tasks.common.data.splits import read_data
from tasks.detection.data.images import checked_range
from tasks.detection.data.splits import Splits, divide
from tasks.detection.options import DataOptions


def read_splits(node: DictConfig, *, policy: Literal["error", "skip"]) -> Splits:
    """Return the data set that the ``data`` group names, checked."""
    options, parts = read_data(node, DataOptions)
    given = checked_range(options.range)
    return divide(parts, options).checked(policy, exif=options.exif, range_=given)
