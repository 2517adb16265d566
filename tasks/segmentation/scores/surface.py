"""Distances between the surfaces of two masks, and the two scores that are made of them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # (H, W) or (D, H, W)

Distances = NDArray[np.float64]
"""(S,): from each pixel of one surface to the nearest of the other, in the unit of the spacing."""

_ROUNDING: Final = 1 + 1e-6  # three pixels of 0.1 mm are 0.30000000000000004 mm


def surface_distances(
    prediction: Mask, truth: Mask, *, spacing: Sequence[float]
) -> tuple[Distances, Distances]:
    """Return the distances from the prediction's surface to the truth's, and those back.

    The surface of a mask is its pixels with a neighbour outside it, among 4 in a flat image and 6
    in a volume, as in MONAI's ``get_mask_edges``. Everything beyond the image is outside.
    """
    if prediction.shape != truth.shape or len(spacing) != truth.ndim:
        raise ValueError(
            f"got masks {prediction.shape} and {truth.shape} with the spacing {tuple(spacing)}; "
            "expected two of one shape, and a distance along each axis."
        )
    if not (prediction.any() and truth.any()):
        raise ValueError(
            f"got masks of {prediction.sum()} and {truth.sum()} pixels; an empty one has no "
            "surface. Decide what it scores before."
        )
    from scipy import ndimage

    # Nothing lies outside this box, so the result is the same, in less time.
    (box,) = ndimage.find_objects((prediction | truth).astype(np.uint8))
    surfaces = [mask ^ ndimage.binary_erosion(mask) for mask in (prediction[box], truth[box])]
    to_prediction, to_truth = (
        ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces
    )
    return to_truth[surfaces[0]], to_prediction[surfaces[1]]


def hd95(to_truth: Distances, to_prediction: Distances) -> float:
    """Return the 95th percentile of the Hausdorff distance, in the unit of the spacing.

    The percentile of each direction is taken, then the larger of the two, as MONAI does; others
    take the percentile of both directions together, which is never larger.
    """
    return float(max(np.percentile(way, 95) for way in (to_truth, to_prediction)))


def nsd(to_truth: Distances, to_prediction: Distances, *, tolerance: float) -> float:
    """Return the normalised surface distance: the share of both surfaces that lies close enough.

    Pixels are counted, not areas, as by MONAI's default. Source: Nikolov et al., arXiv:1809.04430.
    """
    close = sum(int((way <= tolerance * _ROUNDING).sum()) for way in (to_truth, to_prediction))
    return close / (len(to_truth) + len(to_prediction))
