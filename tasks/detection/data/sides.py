"""The sides of an image after resizing: less than a pixel, or padded to whole strides."""

from itertools import count
from typing import Final

from tasks.detection.options import DetectorOptions

_STRIDE: Final = 32  # of the coarsest feature


def narrow_fault(height: int, width: int, options: DetectorOptions) -> str:
    """Return why a detector cannot resize an image, with the least side, or an empty string.

    Sides are rounded down, as by torchvision's ``GeneralizedRCNNTransform``.
    """
    short, long = sorted((height, width))
    factor = min(options.min_size / short, options.max_size / long)
    if int(short * factor):
        return ""
    least = next(side for side in count(1) if int(side * factor))
    return (
        f"is {width}x{height} pixels, too narrow to be resized to at most {options.max_size} "
        f"(model.max_size); expected a shorter side of at least {least}"
    )


def padded_size(height: int, width: int, options: DetectorOptions) -> tuple[int, int]:
    """Return height and width of an image that was resized, and padded to whole strides of 32.

    As torchvision's ``GeneralizedRCNNTransform``, for an image alone. Images of one such size can
    share a batch that pads none of them further.
    """
    short, long = sorted((height, width))
    factor = min(options.min_size / short, options.max_size / long)
    rows, columns = (-(-int(side * factor) // _STRIDE) * _STRIDE for side in (height, width))
    return rows, columns
