"""A trained segmenter, as programs and the scripts use it: images in, masks out."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from backbones.errors import UserError
from tasks.common.images.flat import with_channels
from tasks.common.images.held import ImageLike, held_pixels, path_of, without_alpha
from tasks.common.images.orientation import oriented
from tasks.common.machine.machine import device_of
from tasks.common.report.advice import in_python
from tasks.common.resume.card import find_checkpoint
from tasks.common.share.trained import TrainedNetwork
from tasks.segmentation.data.cases import Geometry, Image, Labels
from tasks.segmentation.data.channels import fitted, is_coloured
from tasks.segmentation.data.dataset import whole_input
from tasks.segmentation.data.formats.files import SUFFIXES, read_image, storable, suffix_of
from tasks.segmentation.data.input import Scaling, scaling_of
from tasks.segmentation.model.card import SegmenterCard, restore_segmenter
from tasks.segmentation.scores.windows import TILES, segment, segment_with_probabilities

_MOST_OF_8_BITS: Final = 255
_CHANNELS: Final = (1, 2, 3, 4)  # gray and RGB, each with and without alpha
_AS_OTHERS: Final = {1: "; RGB, read as gray", 3: "; gray, read as RGB"}


@dataclass(frozen=True, kw_only=True)
class ReadCase:
    """An image with the channels that the segmenter takes, and how its numbers are scaled."""

    image: Image
    scaling: Scaling
    geometry: Geometry  # how it lies on disk
    note: str  # what was done to its channels; empty if nothing was
    flat: bool  # whether it is an image, not a volume or a file of several pages


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """What a segmenter found in one image of H x W pixels, or in a volume of D slices.

    An image that was turned upright by its EXIF orientation has the mask of the upright image. A
    volume that was read from a file is in RAS orientation, slices first (`CaseSet.axis`).
    """

    # (H, W) or (D, H, W) of indices of classes; where classes overlap (K, ...) of 0 and 1
    mask: NDArray[np.uint8]
    classes: tuple[str, ...]  # names of the K classes, by index
    exclusive: bool  # whether each pixel has one class
    # (K, H, W) or (K, D, H, W), from 0 to 1, or None unless the call had probabilities=True; their
    # sum over the classes is 1, unless classes overlap
    probabilities: NDArray[np.float32] | None = None

    def of(self, name: str) -> NDArray[np.bool_]:
        """Return where a class is, (H, W) or (D, H, W)."""
        if name not in self.classes:
            raise UserError(f"no class {name!r}; expected one of {', '.join(self.classes)}.")
        index = self.classes.index(name)
        found: NDArray[np.bool_] = self.mask == index if self.exclusive else self.mask[index] == 1
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedSegmenter(TrainedNetwork[SegmenterCard]):
    """A segmenter with what its checkpoint says of it; `load_segmenter` makes one.

    See `TrainedNetwork`. It computes in float32.
    """

    BACKBONE: ClassVar = ("backbone",)
    USAGE: ClassVar = """from tasks.segmentation import load_segmenter

model = load_segmenter("this folder, or hf:owner/name")
found = model("image.png")  # found.mask, found.classes"""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        return self.card.classes.names

    @overload
    def __call__(
        self, images: ImageLike, *, probabilities: bool = False, batch_size: int = TILES
    ) -> Segmentation: ...

    @overload
    def __call__(
        self, images: list[Any], *, probabilities: bool = False, batch_size: int = TILES
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        images: ImageLike | list[Any],
        *,
        probabilities: bool = False,
        batch_size: int = TILES,
    ) -> Segmentation | list[Segmentation]:
        """Return the mask of an image or a volume, or of each of a list.

        A file is read as in training; an image of Pillow's as such a file. Arrays are (H, W), (H,
        W, C) or, as volumes of D slices, (D, H, W, C); tensors (H, W), (C, H, W) or (C, D, H, W).
        So (1, 3, H, W) is a volume of three gray slices. Arrays and tensors are treated as the
        numbers of a file: where the segmenter was trained on images of 8 bits, whole numbers are
        scaled by the largest of their type, and floating-point numbers must be in [0, 1]. Large
        images are predicted window by window, as in training.

        Args:
            images: One image or a list: paths, arrays, tensors, images of Pillow's. Instead of a
                path a tuple of paths, one per group of channels, where training had such files. A
                tuple is one image here, and several images for a detector.
            probabilities: Whether to return the probabilities of the classes too.
            batch_size: Slices, and windows, that go through the network at once.

        Raises:
            UserError: If an image has another type, shape, number of channels or range than the
                segmenter takes, or a file is damaged.
            FileNotFoundError: If a file does not exist.
        """
        if batch_size < 1:
            raise UserError(f"batch_size takes an integer of at least 1, got {batch_size!r}.")
        several = isinstance(images, list)
        given: list[Any] = images if isinstance(images, list) else [images]
        found = []
        for number, image in enumerate(given):
            with in_python():
                case = self._read(image, name=f"image {number}" if several else "the image")
            found.append(self._segmented(case, batch_size, probabilities=probabilities))
        return found if several else found[0]

    def read_files(self, paths: Sequence[Path]) -> ReadCase:
        """Return the image in a file, or in one file per group of channels."""
        if other := [path for path in paths if not suffix_of(path)]:
            raise UserError(
                f"{other[0]} is no image by its name; expected one that ends in "
                f"{', '.join(SUFFIXES)}."
            )
        stored, geometry = read_image(paths, axis=self.card.axis, exif=self.card.exif)
        return self._fitted(stored, geometry, paths)

    def segment(self, image: Image, scaling: Scaling, *, index: int | None = None) -> Labels:
        """Return labels (D, H, W) of class indices, or (K, D, H, W) of 0 and 1.

        With ``index`` only that slice of (C, D, H, W) is predicted, so that D is 1.
        """
        prepare = self.card.preprocessing
        if index is None:
            seen = whole_input(image, scaling, preprocessing=prepare)
        else:
            seen = torch.from_numpy(prepare(image, index, scaling=scaling)[None])
        return segment(self.network, seen, self.card.input, exclusive=self.card.classes.exclusive)

    def segment_together(self, cases: Sequence[ReadCase], *, batch_size: int) -> list[Labels]:
        """Return what `segment` does of each of some images of one size.

        ``batch_size`` of their slices, or of the windows of these, go through the network at once.
        """
        prepare, options = self.card.preprocessing, self.card.input
        parts = [whole_input(case.image, case.scaling, preprocessing=prepare) for case in cases]
        labels = segment(
            self.network,
            torch.cat(parts),
            options,
            exclusive=self.card.classes.exclusive,
            batch_size=batch_size,
        )
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return list(np.split(labels, ends, axis=-3))

    def read_frame(self, frame: NDArray[np.uint8], *, name: str) -> ReadCase:
        """Return a frame of a video, (H, W, 3) in RGB, as an image; as gray where one is wanted."""
        return self._read(with_channels(frame, 1 if self.card.channels == 1 else 3), name=name)

    def _read(self, image: ImageLike | tuple[Any, ...], *, name: str) -> ReadCase:
        if isinstance(image, tuple):
            return self.read_files(_paths(image, name))
        if (path := path_of(image)) is not None:
            return self.read_files([path])
        usual = () if getattr(image, "ndim", 0) == 4 else _CHANNELS  # volumes have no alpha
        counts = (*usual, self.card.channels)
        pixels, way = held_pixels(image, channels=counts, name=name, volumes=True)
        pixels, place = without_alpha(pixels, channels=self.card.channels), Path(name)
        if isinstance(image, Pillow.Image):
            (pixels,) = oriented([pixels], way, exif=self.card.exif, path=place)
        stored = np.moveaxis(pixels if pixels.ndim == 4 else pixels[None], -1, 0)  # [C,D,H,W]
        spacing = (1.0, 1.0, 1.0)
        geometry = Geometry(source=place, spacing=spacing, unit="px", axis=None, orientation=way)
        stored = np.ascontiguousarray(storable(stored, source=place))
        return self._fitted(stored, geometry, [place], volume=pixels.ndim == 4)

    def _fitted(
        self, stored: Image, geometry: Geometry, paths: Sequence[Path], *, volume: bool = False
    ) -> ReadCase:
        """Return an image with the channels of the training, or refuse it."""
        card = self.card
        image = fitted(stored, paths, channels=None if volume else card.image_channels)
        if len(image) != card.channels:
            coloured = card.gray_or_rgb and is_coloured(image, paths)
            colours = " that differ" if coloured else ""
            raise UserError(
                f"{paths[0]} has {len(image)} channels{colours} in {len(paths)} files, but the "
                f"segmenter was trained on {card.channels}; give images like those of the training."
            )
        if not np.isfinite(image).all():
            raise UserError(f"{paths[0]} has numbers that are NaN or infinite; repair it.")
        if card.input.normalisation == "imagenet" and image.dtype.itemsize > 1:
            _check_depth(image, paths[0])
        note = "" if len(image) == len(stored) else _AS_OTHERS[len(image)]
        scaling = scaling_of(image, card.input, source=geometry.source)
        flat = not volume and geometry.axis is None and image.shape[1] == 1
        return ReadCase(image=image, scaling=scaling, geometry=geometry, note=note, flat=flat)

    def _segmented(self, case: ReadCase, batch_size: int, *, probabilities: bool) -> Segmentation:
        classes, options = self.card.classes, self.card.input
        seen = whole_input(case.image, case.scaling, preprocessing=self.card.preprocessing)
        exclusive, shares = classes.exclusive, None
        if probabilities:
            labels, shares = segment_with_probabilities(
                self.network, seen, options, exclusive=exclusive, batch_size=batch_size
            )
        else:
            labels = segment(
                self.network, seen, options, exclusive=exclusive, batch_size=batch_size
            )
        if case.flat:
            labels = labels[..., 0, :, :]
            shares = None if shares is None else shares[..., 0, :, :]
        return Segmentation(
            mask=labels, classes=classes.names, exclusive=exclusive, probabilities=shares
        )


def _check_depth(image: Image, path: Path) -> None:
    """Refuse 8-bit numbers in a longer type, which the type's largest number would make black."""
    if np.issubdtype(image.dtype, np.unsignedinteger) and image.max() <= _MOST_OF_8_BITS:
        raise UserError(
            f"{path} has numbers of type {image.dtype}, none of them above {_MOST_OF_8_BITS}: "
            f"divided by {np.iinfo(image.dtype.name).max}, the most that the type holds, they "
            "would all be black. Give numbers of 8 bits as uint8."
        )


def _paths(files: tuple[Any, ...], name: str) -> list[Path]:
    """Return the paths of one image in several files."""
    other = next((file for file in files if not isinstance(file, str | PathLike)), None)
    if other is not None or not files:
        what = "an empty tuple" if other is None else f"a tuple with a {type(other).__name__}"
        raise UserError(
            f"{name} is {what}; expected the paths of one image whose channels are in several "
            "files. Give several images as a list."
        )
    return [Path(file) for file in files]


def load_segmenter(
    path: str | PathLike[str], *, device: str = "auto", exif: str | None = None
) -> TrainedSegmenter:
    """Return a trained segmenter, ready for images; it computes in float32.

    Args:
        path: A checkpoint, the folder of a run (its best checkpoint), a folder of
            ``save_pretrained``, or ``hf:owner/name`` with ``@revision`` if wanted.
        device: ``auto``, ``cuda``, ``cuda:1`` or ``cpu``; ``auto`` takes cuda where there is one.
        exif: What is done about images that are rotated by their EXIF orientation: ``apply``,
            ``refuse`` or ``ignore`` (docs/data.md); None is as in training.

    Raises:
        UserError: If the file is damaged or holds no segmenter, or an option is out of range.
        FileNotFoundError: If there is no such file or folder.
        ConnectionError: If a repository of the hub has to be downloaded and cannot be.
    """
    where = device_of(device)
    checkpoint = find_checkpoint(Path(path))
    network, card = restore_segmenter(checkpoint, exif=exif)
    return TrainedSegmenter(network=network.to(where), card=card, checkpoint=checkpoint)
