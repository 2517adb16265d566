"""Images much longer than wide, of whose shorter side resizing leaves less than a pixel."""

from itertools import count

from tasks.detection.options import DetectorOptions


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
