"""Read images and masks: flat files, stacks of pages, and NIfTI volumes in one orientation."""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cv2
import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from tasks.common.paths import IMAGE_SUFFIXES, existing_file
from tasks.segmentation.cases import IGNORE, ClassTable, Geometry, Image, Labels, encode

VOLUME_SUFFIXES: Final = (".nii.gz", ".nii")
SUFFIXES: Final = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
ORIENTATION: Final = 274  # the tag of a TIFF file that says how to turn it

_FORMATS: Final = ("PNG", "TIFF", "BMP", "DIB", "JPEG", "MPO", "WEBP")
_TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AS_STORED: Final = ("L", "RGB", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_MILLIMETRES: Final = {"meter": 1000.0, "micron": 0.001}  # else millimetres, as in ITK
_TOLERANCE: Final = 1e-3  # of the spacing: headers are stored as float32
_DAMAGE: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, cv2.error),
    *(ImageFileError, HeaderDataError, Pillow.DecompressionBombError),
)

Pixels = NDArray[Any]


def suffix_of(path: Path) -> str:
    """Return which of `SUFFIXES` a file has, or an empty string."""
    # Not Path.suffix: that of a.nii.gz is .gz, and of case.1.nii.gz there are three.
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def is_volume(path: Path) -> bool:
    """Return whether a file is a NIfTI volume, by its name."""
    return suffix_of(path) in VOLUME_SUFFIXES


def read_image(paths: Sequence[Path], *, axis: int) -> tuple[Image, Geometry]:
    """Return an image (C, D, H, W) in the numbers that are stored, and how it lies on disk.

    Gray is one channel, colour three (RGB); palettes and CMYK become RGB, transparency is dropped,
    two levels are 0 and 255. An EXIF orientation is not applied, since masks are drawn on the
    stored pixels. The pages of a TIFF file are slices. Volumes are turned to the closest canonical
    (RAS) orientation, then their slice axis comes first; a fourth axis holds channels.

    Whole numbers stay whole: uint8, uint16, int16 or int32. Others become float32, as do volumes
    with a scale in their header.

    Args:
        paths: One file, or one per group of channels.
        axis: See `CaseSet`; of flat images it is not used. With -1 a volume of one slice is cut
            where it has one, and spacings within 1 % are equal.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged or of a kind that is not read, or differs from the first
            in size or place.
    """
    files = [_read(path, axis=axis) for path in paths]
    first, geometry = files[0]
    for path, (pixels, _) in zip(paths[1:], files[1:], strict=True):
        check_same_grid(paths[0], path, sizes=(first.shape[1:], pixels.shape[1:]))
    joined = np.concatenate([pixels for pixels, _ in files])
    return np.ascontiguousarray(_storable(joined, source=paths[0])), geometry


def read_mask(paths: Sequence[Path], classes: ClassTable, *, axis: int) -> tuple[Labels, Geometry]:
    """Return the labels of a mask and how it lies on disk.

    Of a palette file the indices are read, not the colours. Two levels are 0 and 255, as in OpenCV
    and in Pillow's gray. Three equal channels are one.

    Args:
        paths: One file, or one per class where classes overlap; in these all but 0 is the class.
        classes: What the values stand for.
        axis: As for the image.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, has a value of no class, several different channels or
            numbers that are not whole, or if the number of files is neither 1 nor that of classes.
    """
    if len(paths) != 1 and (classes.exclusive or len(paths) != len(classes.names)):
        expected = "1" if classes.exclusive else f"1 or {len(classes.names)}, one per class"
        names = [path.name for path in paths]
        raise ValueError(f"a mask has {len(paths)} files, {names}; expected {expected}.")
    masks = [_mask(path, axis=axis) for path in paths]
    values, geometry = masks[0]
    if len(paths) == 1:
        return encode(values, classes, source=paths[0]), geometry
    for path, (other, _) in zip(paths[1:], masks[1:], strict=True):
        check_same_grid(paths[0], path, sizes=(values.shape, other.shape))
    layers = np.stack([mask != 0 for mask, _ in masks]).astype(np.uint8)
    ignored = np.isin(np.stack([mask for mask, _ in masks]), classes.ignored).any(axis=0)
    layers[:, ignored] = IGNORE
    return layers, geometry


def mask_values(path: Path) -> list[int]:
    """Return the different values of a mask file, sorted; errors are those of `read_mask`."""
    return [int(value) for value in np.unique(_mask(path, axis=-1)[0])]


def check_same_grid(
    first: Path, other: Path, *, sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Raise ValueError unless two files show the same pixels of the same thing.

    Args:
        first: An image.
        other: Its mask, or further channels.
        sizes: (D, H, W) of both, as they were read.
    """
    if is_volume(first) != is_volume(other):
        kinds = ["a volume" if is_volume(path) else "a flat image" for path in (other, first)]
        raise ValueError(f"{other} is {kinds[0]}, but {first} is {kinds[1]}.")
    if sizes[0] != sizes[1]:
        turned = sizes[0] == (*sizes[1][:-2], sizes[1][-1], sizes[1][-2])
        raise ValueError(
            f"{other} has the size {_by(sizes[1])}, but {first} has {_by(sizes[0])}"
            f"{' (turned by an EXIF orientation? Save it upright)' if turned else ''}."
        )
    if not is_volume(first):
        return
    ours, theirs = (affine_of(nib.load(path), source=path) for path in (first, other))
    spacing = float(voxel_sizes(ours).min())
    if not np.allclose(ours, theirs, rtol=0, atol=_TOLERANCE * spacing):
        raise ValueError(
            f"{other} lies elsewhere than {first}: its affine is {_flat_text(theirs)}, not "
            f"{_flat_text(ours)}. Copy the header, or resample it onto the image."
        )


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
        or (abs(np.linalg.det(affine[:3, :3] / spacing)) < _TOLERANCE)
    ):
        raise ValueError(
            f"{source} has the affine {_flat_text(affine)}, which does not say where its voxels "
            "are; expected finite numbers and an inverse. Repair its header."
        )
    return affine


def tiff_tags(path: Path) -> dict[int, Any]:
    """Return the tags of the first page of a TIFF file by number; of other files none."""
    with path.open("rb") as file:
        header = file.read(8)
        if header[:4] not in _TIFF_STARTS:
            return {}
        if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF
            header += file.read(8)
        tags = ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        return dict(tags)


def _read(path: Path, *, axis: int, indices: bool = False) -> tuple[Pixels, Geometry]:
    """Return (C, D, H, W); ``indices`` are those of a palette, in place of its colours."""
    existing_file(path, what="image")
    if is_volume(path):
        return _volume(path, axis=axis)
    with _decoding(path):
        turned = tiff_tags(path).get(ORIENTATION, 1)
    if turned != 1:
        raise ValueError(
            f"{path} is to be shown turned (TIFF orientation {turned}), which some tools do and "
            "others do not; save it upright."
        )
    with _decoding(path):
        pages = _pages(path, indices=indices)
    sizes = [page.shape for page in pages]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"{path} has pages of different sizes, {_by(sizes[0])} and others; expected slices of "
            "one size. Save the page that is meant."
        )
    stack = np.stack([page.reshape(*page.shape[:2], -1) for page in pages])  # [D,H,W,C]
    pixels = _storable(np.moveaxis(stack, -1, 0), source=path)
    return pixels, Geometry(source=path, spacing=(1.0, 1.0, 1.0), unit="px", axis=None)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            yield
    except _DAMAGE as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}); restore the file or remove the case."
        ) from error


def _pages(path: Path, *, indices: bool) -> list[Pixels]:
    """Return (H, W) or (H, W, 3) of each page; Pillow raises if a file is truncated."""
    pages = []
    try:
        with Pillow.open(path, formats=_FORMATS) as source:
            for number in range(getattr(source, "n_frames", 1) if source.format == "TIFF" else 1):
                source.seek(number)
                # Pillow cuts colours of 16 bits to 8.
                deep = len(source.getbands()) > 1 and ";16" in str(source.tile)
                source.load()
                if deep:
                    colours = 1 if source.mode == "LA" else 3
                    return [page[..., :colours] for page in _opencv_pages(path)]
                pages.append(_page(source, indices=indices))
    except UnidentifiedImageError:
        if not tiff_tags(path):
            raise
        return _opencv_pages(path)  # 64-bit numbers, or colours as floats
    return pages


def _page(source: Pillow.Image, *, indices: bool) -> Pixels:
    image: Pillow.Image = source
    if source.mode == "1":
        image = source.convert("L")
    elif source.mode in ("LA", "La") or (source.mode == "PA" and indices):
        image = source.getchannel(0)
    elif source.mode not in _AS_STORED and not (source.mode == "P" and indices):
        image = source.convert("RGB")
    pixels = np.asarray(image)
    # Pillow widens signed numbers of 16 bits.
    narrow = source.mode == "I" and getattr(source, "tag_v2", {}).get(258) == (16,)
    return pixels.astype(np.int16) if narrow else pixels


def _opencv_pages(path: Path) -> list[Pixels]:
    content = np.fromfile(path, dtype=np.uint8)
    _, pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
    if not pages:
        raise ValueError("neither Pillow nor OpenCV reads it")
    return [page[..., 2::-1] if page.ndim == 3 else page for page in pages]  # BGR(A)


def _volume(path: Path, *, axis: int) -> tuple[Pixels, Geometry]:
    with _decoding(path):
        image = nib.load(path, mmap=False)
        values = np.asanyarray(image.dataobj)
    if values.ndim not in (2, 3, 4) or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{path} has {values.ndim} axes of {values.dtype}; expected 2 or 3, or 4 with channels "
            "last, of real numbers."
        )
    values = values.reshape(*values.shape, *(1,) * (4 - values.ndim))  # [X,Y,Z,C]
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
    pixels = _storable(values.transpose(3, *order), source=path)
    return pixels, Geometry(source=path, spacing=(depth, rows, columns), unit="mm", axis=axis)


def _slice_axis(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> int:
    single = [i for i in range(3) if shape[i] == 1]
    if len(single) == 1:
        return single[0]
    return max(i for i in range(3) if spacing[i] >= 0.99 * spacing.max())


def _mask(path: Path, *, axis: int) -> tuple[NDArray[np.integer[Any]], Geometry]:
    """Return (D, H, W) of whole numbers."""
    pixels, geometry = _read(path, axis=axis, indices=True)
    values = pixels[0]
    if (pixels[1:] != values).any():
        raise ValueError(
            f"{path} has {len(pixels)} channels that differ; expected a mask with one number per "
            "pixel. Turn its colours into class values."
        )
    if values.dtype.kind == "f":
        odd = values[~(np.isfinite(values) & (values == np.rint(values)))]
        if odd.size:
            raise ValueError(
                f"{path} has mask values that are not whole, such as {odd[0]:g} ({odd.size} "
                "pixels); expected one whole number per class. Was it resampled or scaled?"
            )
        values = values.astype(np.int64)
    return values, geometry


def _storable(pixels: Pixels, *, source: Path) -> Pixels:
    """Return the numbers in one of the types of `Image`."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an infinity is found by the check of the cases
            return pixels.astype(np.float32, copy=False)
    pixels = pixels.astype(np.result_type(pixels, np.uint8), copy=False)
    if pixels.dtype in (np.uint8, np.uint16, np.int16, np.int32):
        return pixels
    limits = np.iinfo(np.int32)
    if pixels.min() < limits.min or pixels.max() > limits.max:
        raise ValueError(f"{source} has numbers up to {pixels.max()}; expected 32 bits at most.")
    return pixels.astype(np.int32)


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)


def _flat_text(affine: NDArray[np.float64]) -> str:
    return np.array2string(affine[:3], precision=4, separator=", ").replace("\n", "")
