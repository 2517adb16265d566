"""Gray files among coloured ones: all flat images of a data set have the same channels."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tasks.segmentation.data.cases import Image
from tasks.segmentation.data.formats.files import is_volume

_RGB: Final = 3


def is_coloured(image: Image, paths: Sequence[Path]) -> bool | None:
    """Return whether an image (C, D, H, W) is in colour; None if it is neither gray nor RGB.

    An RGB file whose channels are equal is gray. Channels of volumes and of several files mean
    something else.
    """
    if len(paths) != 1 or is_volume(paths[0]) or len(image) not in (1, _RGB):
        return None
    return bool((image[1:] != image[0]).any())


def fitted(image: Image, paths: Sequence[Path], *, channels: int | None) -> Image:
    """Return an image with the channels that the other images have, 1 or 3; None for as it is.

    RGB becomes gray only if its channels are equal.
    """
    if channels in (None, len(image)) or (coloured := is_coloured(image, paths)) is None:
        return image
    if channels == _RGB:
        return np.repeat(image, _RGB, axis=0)
    return image if coloured else image[:1]


def common_channels(coloured: Sequence[tuple[bool | None, int]]) -> int | None:
    """Return the channels that gray and RGB images get: 3 if one is in colour, else 1.

    ``coloured`` has for every image what `is_coloured` returns, and its channels as stored. Images
    that agree already keep theirs. None if most images are neither gray nor RGB.
    """
    stored = Counter(channels for kind, channels in coloured if kind is not None)
    if 2 * stored.total() <= len(coloured):
        return None
    if len(stored) == 1:
        return next(iter(stored))
    return _RGB if any(kind for kind, _ in coloured) else 1
