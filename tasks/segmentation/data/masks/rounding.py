"""Mask values that were stored as floating-point numbers, as the whole numbers that they mean."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.report.advice import advice
from tasks.segmentation.data.formats.files import volume_type

_NEAR: Final = 0.01  # of a whole number: what is lost where volumes are stored with a scale
_BITS: Final = 2**31


def whole_numbers(values: NDArray[Any], path: Path) -> tuple[NDArray[np.int64], int]:
    """Return floating-point mask values as whole numbers, and how many were not quite.

    Refused are NaN, infinity, more than 32 bits, and what is further than 0.01 from a whole number.
    """
    if (wrong := values[~np.isfinite(values)]).size:
        raise UserError(
            f"{path} has mask values that are not finite, such as {wrong[0]!s} ({wrong.size} "
            "pixels); expected one whole number per class. Replace them, such as by 0."
        )
    nearest = np.rint(values)
    off = np.abs(values - nearest)
    if (odd := values[off > _NEAR]).size:
        raise UserError(
            f"{path} has mask values that are not whole, such as {odd[0]!s} ({odd.size} "
            f"pixels); expected one whole number per class. {_reason(values, path)}"
        )
    if (large := nearest[np.abs(nearest) >= _BITS]).size:
        raise UserError(
            f"{path} has mask values such as {large[0]!s} ({large.size} pixels); expected 32 bits "
            "at most. Give the classes smaller numbers."
        )
    return nearest.astype(np.int64), int(np.count_nonzero(off))


def _reason(values: NDArray[Any], path: Path) -> str:
    """Return why values may not be whole, and what to do."""
    if (kind := volume_type(path)) and (scale := kind.scale(path)):
        return scale
    if values.min() >= 0 and values.max() <= 1 + _NEAR:
        training = "data.threshold=0.5 makes two levels of them."
        return f"Are these probabilities? {advice(training, otherwise='Cut them at 0.5.')}"
    return "Was it resampled or scaled? Resample masks by the nearest neighbour."
