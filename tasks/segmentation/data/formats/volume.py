"""Volumes of any file type: turned to one orientation (RAS) with the slices first, and back."""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.segmentation.data.cases import Geometry

Affine = NDArray[np.float64]
"""(4, 4): takes the indices of a voxel to millimetres towards right, anterior and superior."""

_TOLERANCE: Final = 1e-3  # of the spacing: headers are stored as float32
_CANONICAL: Final = np.array([[0, 1], [1, 1], [2, 1]])  # RAS, as nibabel notes it
_DAMAGE: Final = (
    *(OSError, ValueError, EOFError, zlib.error, struct.error),
    *(ImageFileError, HeaderDataError),
)


@dataclass(frozen=True, kw_only=True)
class VolumeType:
    """How one type of volume files is read and written.

    ``load`` returns the numbers, (X, Y) or (X, Y, Z, ...), and the affine; ``save`` writes a mask
    (X, Y, Z) to the first path, in the geometry of the second, the image.
    """

    suffixes: tuple[str, ...]  # in small letters
    load: Callable[[Path], tuple[NDArray[Any], Affine]]
    affine: Callable[[Path], Affine]  # without reading the numbers
    save: Callable[[NDArray[Any], Path, Path], None]
    written: Mapping[str, str] = field(default_factory=dict)  # a mask's suffix by its image's
    scale: Callable[[Path], str] = lambda _: ""  # what the header does to them, for a message

    def read(self, path: Path, *, axis: int) -> tuple[NDArray[Any], Geometry]:
        """Return (C, D, H, W) in the numbers that the file means, and how it lies on disk.

        ``axis`` is `CaseSet.axis`. With -1 a volume of one slice is cut where it has one, and
        spacings within 1 % are equal. Damaged files, and those without 2 or 3 axes beside channels,
        are refused.
        """
        try:
            stored, affine = self.load(path)
        except UserError:
            raise
        except _DAMAGE as error:
            raise UserError(
                f"{path} cannot be decoded ({error}); restore the file or remove the case."
            ) from error
        values = _voxels(stored, path)
        orientation = io_orientation(_checked(affine, path))
        values = apply_orientation(values, orientation)
        spacing = np.empty(3)
        spacing[orientation[:, 0].astype(int)] = voxel_sizes(affine)
        axis = _slice_axis(values.shape[:3], spacing) if axis == -1 else axis
        order = _slices_first(axis)
        depth, rows, columns = spacing[order].tolist()
        geometry = Geometry(source=path, spacing=(depth, rows, columns), unit="mm", axis=axis)
        return values.transpose(3, *order), geometry

    def write(self, mask: NDArray[Any], path: Path, geometry: Geometry) -> None:
        """Write a mask (D, H, W) with slices and directions where its image has them."""
        canonical = mask.transpose(np.argsort(_slices_first(geometry.axis or 0)))
        orientation = io_orientation(self.affine(geometry.source))
        values = apply_orientation(canonical, ornt_transform(_CANONICAL, orientation))
        self.save(np.ascontiguousarray(values), path, geometry.source)


def check_same_place(first: tuple[VolumeType, Path], other: tuple[VolumeType, Path]) -> None:
    """Raise ValueError unless the voxels of two files lie at the same place."""
    ours, theirs = (_checked(kind.affine(path), path) for kind, path in (first, other))
    if not np.allclose(ours, theirs, rtol=0, atol=_TOLERANCE * float(voxel_sizes(ours).min())):
        raise UserError(
            f"{other[1]} lies elsewhere than {first[1]}: its affine is {_text(theirs)}, not "
            f"{_text(ours)}. Copy the header, or resample it onto the image."
        )


def _voxels(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return (X, Y, Z, C) of (X, Y) or (X, Y, Z, ...), where one further axis has channels."""
    further = [size for size in values.shape[3:] if size > 1]  # NIfTI has time before channels
    if values.ndim < 2 or len(further) > 1 or values.dtype.kind not in "iuf" or not values.size:
        raise UserError(
            f"{path} has the shape {values.shape} of {values.dtype}; expected 2 or 3 axes, or one "
            "more with channels, of real numbers."
        )
    space = (*values.shape[:3], *(1,) * (3 - values.ndim))
    return values.reshape(*space, *(further or [1]))


def _checked(affine: Affine, path: Path) -> Affine:
    spacing = voxel_sizes(affine)
    known = np.isfinite(affine).all() and spacing.all()
    # The determinant of the directions alone: 1 for right angles, 0 if two of them coincide.
    if not known or abs(np.linalg.det(affine[:3, :3] / spacing)) < _TOLERANCE:
        raise UserError(
            f"{path} has the affine {_text(affine)}, which does not say where its voxels are; "
            "expected finite numbers and an inverse. Repair its header."
        )
    return affine


def _slice_axis(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> int:
    single = [i for i in range(3) if shape[i] == 1]
    if len(single) == 1:
        return single[0]
    return max(i for i in range(3) if spacing[i] >= 0.99 * spacing.max())


def _slices_first(axis: int) -> list[int]:
    return [axis, *(i for i in range(3) if i != axis)]


def _text(affine: Affine) -> str:
    return np.array2string(affine[:3], precision=4, separator=", ").replace("\n", "")
