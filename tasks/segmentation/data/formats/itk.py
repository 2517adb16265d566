"""NRRD and MetaImage volumes, by SimpleITK, in mm; its axes are LPS, ours RAS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.segmentation.data.formats.volume import Affine, VolumeType

_READERS: Final = {".nhdr": "NrrdImageIO", ".nrrd": "NrrdImageIO"}  # else MetaImageIO
_RAS: Final = np.diag([-1.0, -1.0, 1.0])


def _simple_itk(path: Path) -> ModuleType:
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path} is read with SimpleITK, which is not installed: pip install "
            "'keel-backbones[itk]'."
        ) from error
    return SimpleITK


def _header(path: Path) -> Any:  # noqa: ANN401 (untyped)
    reader = _simple_itk(path).ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_reader_name(path))
    with _reasons(ValueError):
        reader.ReadImageInformation()
    return reader


def _reader_name(path: Path) -> str:
    return _READERS.get(path.suffix.lower(), "MetaImageIO")


@contextmanager
def _reasons(kind: type[Exception]) -> Iterator[None]:
    """Raise ITK's errors with their last line, the reason; others name places in its source."""
    try:
        yield
    except RuntimeError as error:
        raise kind(str(error).strip().splitlines()[-1]) from error


def _load(path: Path) -> tuple[NDArray[Any], Affine]:
    reader = _header(path)
    with _reasons(ValueError):
        image = reader.Execute()
    values = _simple_itk(path).GetArrayFromImage(image)
    size, channels = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    values = values.reshape(*size[::-1], channels)  # ITK counts from the last axis of numpy
    axes = range(len(size))
    values = values.transpose(*reversed(axes), len(size))
    space = (*size[:3], *(1,) * (3 - len(size)))
    return values.reshape(*space, *size[3:], channels), _affine_of(reader)


def _affine_of(reader: Any) -> Affine:  # noqa: ANN401 (untyped)
    """Return the affine of the first three axes; a flat image lies at height 0."""
    lps, directions = np.eye(4), _directions(reader)
    space = len(directions)
    lps[:space, :space] = directions * np.asarray(reader.GetSpacing()[:space])
    lps[:space, 3] = reader.GetOrigin()[:space]
    lps[:3] = _RAS @ lps[:3]
    return lps


def _directions(reader: Any) -> NDArray[np.float64]:  # noqa: ANN401 (untyped)
    """Return the directions of the axes in space, (2, 2) or (3, 3), without those of others."""
    axes = reader.GetDimension()
    return np.reshape(reader.GetDirection(), (axes, axes))[:3, :3]


def _save(mask: NDArray[Any], path: Path, image: Path) -> None:
    """Write with the image's directions, spacing and origin, and nothing else of its header."""
    itk, source = _simple_itk(path), _header(image)
    directions, values = _directions(source), mask.transpose(2, 1, 0)
    space = len(directions)
    written = itk.GetImageFromArray(values[0] if space == 2 else values)
    written.SetDirection(directions.ravel().tolist())
    written.SetSpacing(source.GetSpacing()[:space])
    written.SetOrigin(source.GetOrigin()[:space])
    writer = itk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetImageIO(_reader_name(path))
    writer.UseCompressionOn()
    with _reasons(OSError):
        writer.Execute(written)


ITK: Final = VolumeType(
    suffixes=(".nrrd", ".nhdr", ".mha", ".mhd"),
    load=_load,
    affine=lambda path: _affine_of(_header(path)),
    save=_save,
    written={".nhdr": ".nrrd", ".mhd": ".mha"},  # a mask is one file, which appears whole
)
