"""Read NIfTI volumes in one orientation, slices first."""

from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from tasks.segmentation.data.cases import Geometry
from tasks.segmentation.data.formats.damage import decoding

_MILLIMETRES: Final = {"meter": 1000.0, "micron": 0.001}  # else millimetres, as in ITK
TOLERANCE: Final = 1e-3  # of the spacing: headers are stored as float32


def affine_of(image: Any, *, source: Path) -> NDArray[np.float64]:  # noqa: ANN401 (untyped)
    """Return the (4, 4) that takes voxels of a NIfTI file to space.

    Args:
        image: As nibabel loads it.
        source: For the message.

    Raises:
        ValueError: If it is not finite, or has no inverse.
    """
    affine = np.asarray(image.affine, dtype=np.float64)
    spacing = voxel_sizes(affine)
    # The determinant of the directions alone: 1 for right angles, 0 if two of them coincide.
    if (
        not np.isfinite(affine).all()
        or not spacing.all()
        or (abs(np.linalg.det(affine[:3, :3] / spacing)) < TOLERANCE)
    ):
        raise ValueError(
            f"{source} has the affine {flat_text(affine)}, which does not say where its voxels "
            "are; expected finite numbers and an inverse. Repair its header."
        )
    return affine


def read_volume(path: Path, *, axis: int) -> tuple[NDArray[Any], Geometry]:
    """Return (C, D, H, W) in the numbers that the file means, scaled if its header says so.

    Args:
        path: A NIfTI file of 2 or 3 axes, and one with channels: the fourth or, as NIfTI has
            vectors, the fifth. Others may have the size 1.
        axis: As `read_image` takes it.

    Raises:
        ValueError: If it is damaged, or no such file.
    """
    with decoding(path):
        image = nib.load(path, mmap=False)
        values = np.asanyarray(image.dataobj)
    further = [size for size in values.shape[3:] if size > 1]  # NIfTI has time before channels
    if values.ndim < 2 or len(further) > 1 or values.dtype.kind not in "iuf" or not values.size:
        raise ValueError(
            f"{path} has the shape {values.shape} of {values.dtype}; expected 2 or 3 axes, or one "
            "more with channels, of real numbers."
        )
    space = (*values.shape[:3], *(1,) * (3 - values.ndim))
    values = values.reshape(*space, *(further or [1]))  # [X,Y,Z,C]
    affine = affine_of(image, source=path)
    orientation = nib.orientations.io_orientation(affine)
    values = nib.orientations.apply_orientation(values, orientation)
    unit = image.header.get_xyzt_units()[0]
    spacing = np.empty(3)
    spacing[orientation[:, 0].astype(int)] = voxel_sizes(affine)
    spacing *= _MILLIMETRES.get(unit, 1.0)
    axis = _slice_axis(values.shape[:3], spacing) if axis == -1 else axis
    order = [axis, *(i for i in range(3) if i != axis)]
    depth, rows, columns = spacing[order].tolist()
    pixels = values.transpose(3, *order)
    return pixels, Geometry(source=path, spacing=(depth, rows, columns), unit="mm", axis=axis)


def _slice_axis(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> int:
    single = [i for i in range(3) if shape[i] == 1]
    if len(single) == 1:
        return single[0]
    return max(i for i in range(3) if spacing[i] >= 0.99 * spacing.max())


def flat_text(affine: NDArray[np.float64]) -> str:
    """Return the first three rows of an affine on one line, for a message."""
    return np.array2string(affine[:3], precision=4, separator=", ").replace("\n", "")
