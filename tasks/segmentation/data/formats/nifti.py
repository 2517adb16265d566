"""NIfTI volumes: .nii and .nii.gz, by nibabel."""

import gzip
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tasks.segmentation.data.formats.volume import Affine, VolumeType

_TEXTS: Final = {"descrip", "aux_file", "db_name", "intent_name"}
_MILLIMETRES: Final = {"meter": 1000.0, "micron": 0.001}  # else millimetres, as in ITK


def _load(path: Path) -> tuple[NDArray[Any], Affine]:
    image = nib.load(path, mmap=False)
    return np.asanyarray(image.dataobj), _in_millimetres(image)


def _in_millimetres(image: Any) -> Affine:  # noqa: ANN401 (untyped)
    factor = _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    return np.asarray(image.affine, dtype=np.float64) * [[factor], [factor], [factor], [1.0]]


def _save(mask: NDArray[Any], path: Path, image: Path) -> None:
    """Write with the image's affine, shape, unit and version of NIfTI."""
    source = nib.load(image)
    header = source.header.copy()
    header.set_data_dtype(mask.dtype)
    header.extensions.clear()  # scanners put patients' names there, and into these texts
    for text in _TEXTS & set(header.keys()):
        header[text] = b""
    header["cal_min"] = header["cal_max"] = 0  # the image's window would hide the classes
    written = type(source)(mask.reshape(source.shape[:3]), source.affine, header)
    content = written.to_bytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _scale(path: Path) -> str:
    stored = nib.load(path).dataobj
    if (stored.slope, stored.inter) == (1, 0):
        return ""
    return (
        f"Its header scales what is stored by {stored.slope:g} and adds {stored.inter:g} "
        "(scl_slope, scl_inter): if the stored numbers are the classes, set these to 1 and 0."
    )


NIFTI: Final = VolumeType(
    suffixes=(".nii.gz", ".nii"),
    load=_load,
    affine=lambda path: _in_millimetres(nib.load(path)),
    save=_save,
    scale=_scale,
)
