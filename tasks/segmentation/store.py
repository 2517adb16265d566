"""The cases of a split in memory, as far as they fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    """Reads cases when they are asked for, and keeps them while there is room.

    Args:
        split: The cases.
        options: How they are normalised; ``normalisation`` is not ``auto``.
        limit: Bytes to keep; what comes after is read from disk each time.
    """

    def __init__(self, split: CaseSet, options: InputOptions, *, limit: int) -> None:
        self.split = split
        self.options = options
        self._room = limit
        self._kept: dict[int, Loaded] = {}

    def __len__(self) -> int:
        return len(self.split.cases)

    def __getitem__(self, index: int) -> Loaded:
        """Return a case.

        Raises:
            ValueError: If a file is damaged, or has numbers that the normalisation cannot take.
        """
        if index in self._kept:
            return self._kept[index]
        loaded = load_case(self.split.cases[index], self.split, self.options)
        size = loaded.image.nbytes + loaded.labels.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = loaded
        return loaded


def load_case(case: Case, split: CaseSet, options: InputOptions) -> Loaded:
    """Return a case as arrays.

    Args:
        case: With a mask.
        split: Whose classes and axis it is read with.
        options: How it is normalised.

    Raises:
        ValueError: If a file is damaged, or has numbers that the normalisation cannot take.
    """
    image, geometry = read_image(case.images, axis=split.axis)
    labels, _ = read_mask(case.masks, split.classes, axis=split.axis)
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
