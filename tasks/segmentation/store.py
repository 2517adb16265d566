"""The cases of a split, each decoded once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from tasks.common.atomic import replacing
from tasks.segmentation.cases import Case, CaseSet, ClassTable, Geometry, Image, Labels
from tasks.segmentation.input import InputOptions, Scaling, scaling_of
from tasks.segmentation.readers import read_image, read_mask

_PLACES: Final = 10_000  # per class and case; nnU-Net keeps as many


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A case as arrays.

    Attributes:
        case: Where it comes from.
        image: (C, D, H, W), as stored.
        labels: (D, H, W), or (K, D, H, W) where classes overlap.
        geometry: How it lies on disk.
        scaling: Turns the image into what the network sees.
        places: Where each class but the background is, as indices into the flattened (D, H, W);
            classes that are not there are left out.
    """

    case: Case
    image: Image
    labels: Labels
    geometry: Geometry
    scaling: Scaling
    places: Mapping[int, NDArray[np.int64]]


class CaseStore:
    """Reads every case once, and keeps it: in memory while there is room, then in a scratch file.

    A scratch file is mapped into memory, so that a patch of a volume is read without decoding the
    volume again. The scratch folder goes with the store; worker processes share it.

    Args:
        split: The cases.
        options: How they are normalised; ``normalisation`` is not ``auto``.
        limit: Bytes to keep in memory.
    """

    def __init__(self, split: CaseSet, options: InputOptions, *, limit: int) -> None:
        self.split = split
        self.options = options
        self._room = limit
        self._kept: dict[int, Loaded] = {}
        self._scratch = Path(mkdtemp(prefix="keel-"))
        finalize(self, rmtree, self._scratch, ignore_errors=True)  # not in what workers are sent

    def __len__(self) -> int:
        return len(self.split.cases)

    def __getitem__(self, index: int) -> Loaded:
        """Return a case.

        Raises:
            ValueError: If a file is damaged, or has numbers that the normalisation cannot take.
        """
        if index not in self._kept:
            loaded = load_case(self.split.cases[index], self.split, self.options)
            size = loaded.image.nbytes + loaded.labels.nbytes
            if size <= self._room:
                self._room -= size
            else:
                image = self._mapped(f"{index}-image", loaded.image)
                labels = self._mapped(f"{index}-labels", loaded.labels)
                loaded = replace(loaded, image=image, labels=labels)
            self._kept[index] = loaded
        return self._kept[index]

    def _mapped(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return the array as a file that another process may have written already."""
        path = self._scratch / f"{name}.npy"
        if not path.exists():
            with replacing(path) as partial:
                np.save(partial, array)
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped


def load_case(case: Case, split: CaseSet, options: InputOptions) -> Loaded:
    """Return a case as arrays.

    Args:
        case: With a mask.
        split: Whose classes, axis and ``exif`` it is read with.
        options: How it is normalised.

    Raises:
        ValueError: If a file is damaged, or has numbers that the normalisation cannot take.
    """
    image, geometry = read_image(case.images, axis=split.axis, exif=split.exif)
    labels, _ = read_mask(case.masks, split.classes, axis=split.axis, exif=split.exif)
    return Loaded(
        case=case,
        image=image,
        labels=labels,
        geometry=geometry,
        scaling=scaling_of_file(image, options, geometry=geometry),
        places=_places(labels, split.classes),
    )


def scaling_of_file(image: Image, options: InputOptions, *, geometry: Geometry) -> Scaling:
    """Return `scaling_of` an image; an error names its file."""
    try:
        return scaling_of(image, options)
    except ValueError as error:
        raise ValueError(f"{geometry.source} {error}.") from error


def _places(labels: Labels, classes: ClassTable) -> dict[int, NDArray[np.int64]]:
    places = {}
    for index in classes.scored:
        found = np.flatnonzero(labels == index if classes.exclusive else labels[index] == 1)
        if len(found) > _PLACES:
            found = np.random.default_rng(0).choice(found, _PLACES, replace=False)
        if len(found):
            places[index] = found
    return places
