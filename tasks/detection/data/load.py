"""From the ``data`` group of the configuration to splits whose image files were looked at."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tasks.common.images.orientation import check_exif
from tasks.detection.data.images import checked_range
from tasks.detection.data.splits import Splits

OPTIONS: Final = ("exif", "range")
"""Of the group, for every layout; see `Reading`."""


def read_splits(node: DictConfig, *, policy: Literal["error", "skip"]) -> Splits:
    """Return the data set that the ``data`` group names, checked.

    Args:
        node: The group: `OPTIONS`, and ``_target_`` with its arguments.
        policy: What to do about image files that are missing, damaged or of another size; see
            `check_images`.

    Raises:
        ValueError: If an option, an annotation or an image is wrong.
        InstantiationException: Hydra's, whose cause is the ValueError or FileNotFoundError of the
            function that ``_target_`` names.
    """
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    chosen = {key: value for key, value in values.items() if key in OPTIONS}
    given = checked_range(chosen.get("range"))
    exif = str(chosen.get("exif", "refuse"))
    check_exif(exif)
    source = {key: value for key, value in values.items() if key not in OPTIONS}
    splits: Splits = instantiate(source)
    return splits.checked(policy, exif=exif, range_=given)
