"""The cases of a split, each decoded once where there is room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.common.files.shared_memory import Scratch
from tasks.segmentation.data.cases import Case, CaseSet, ClassTable, Geometry, Image, Labels
from tasks.segmentation.data.channels import fitted
from tasks.segmentation.data.formats.files import read_image
from tasks.segmentation.data.input import Scaling, scaling_of
from tasks.segmentation.data.masks.read import read_mask
from tasks.segmentation.options import InputOptions

_PLACES: Final = 10_000  # per class and case; nnU-Net keeps as many


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A case as arrays: (C, D, H, W) as stored, and labels (D, H, W), or (K, D, H, W).

    ``scaling`` turns the image into what the network sees. ``places`` has for each class but the
    background that occurs pixels of it, as indices into the flattened (D, H, W).
    """

    case: Case
    image: Image
    labels: Labels
    geometry: Geometry
    scaling: Scaling
    places: Mapping[int, NDArray[np.int64]]


class CaseStore:
    """Reads cases and keeps ``limit`` bytes in this process's memory, others in a temporary file.

    Worker processes share the temporary file; it lies in the folder ``scratch``, or in memory
    with ``memory``. A patch of a volume is read from it without decoding. Without one (None), a
    case that does not fit is decoded at each access. ``sizes`` are the bytes of image and labels of
    each case.
    """

    def __init__(
        self,
        split: CaseSet,
        options: InputOptions,
        *,
        limit: int,
        sizes: Sequence[int] = (),
        scratch: Path | Literal["memory"] | None = None,
    ) -> None:
        self.split = split
        self.options = options
        self._room = limit
        self._kept: dict[int, Loaded] = {}
        # Numbers of any type begin where they may.
        self._starts = list(accumulate((-(-size // 64) * 64 for size in sizes), initial=0))
        self._folder = scratch
        self._scratch: Scratch | None = None

    def __len__(self) -> int:
        return len(self.split.cases)

    def __getitem__(self, index: int) -> Loaded:
        """Return a case; OSError if there is not enough room for the temporary file."""
        if index in self._kept:
            return self._kept[index]
        loaded = load_case(self.split.cases[index], self.split, self.options)
        size = loaded.image.nbytes + loaded.labels.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = loaded
        elif self._folder is not None and size <= self._starts[index + 1] - self._starts[index]:
            image, labels = self._placed(index, (loaded.image, loaded.labels))
            self._kept[index] = loaded = replace(loaded, image=image, labels=labels)
        return loaded

    def open(self) -> None:
        """Reserve the temporary file, if there is one, before the workers that share it start."""
        if self._folder is not None and self._scratch is None:
            folder = None if self._folder == "memory" else Path(self._folder)
            self._scratch = Scratch(self._starts[-1], folder=folder)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process is sent: the store without the cases it has read."""
        return {**self.__dict__, "_kept": {}}

    def _placed(self, index: int, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return arrays in the temporary file; other processes may write the same bytes there."""
        self.open()
        start, placed = self._starts[index], []
        for array in arrays:
            raw = self._scratch.bytes(start, start + array.nbytes)  # type: ignore[union-attr]
            place = raw.view(array.dtype).reshape(array.shape)
            place[...] = array
            place.flags.writeable = False
            placed.append(place)
            start += array.nbytes
        return placed


def load_case(case: Case, split: CaseSet, options: InputOptions) -> Loaded:
    """Return a case as arrays, read with the classes, axis, channels and exif of its split."""
    stored, geometry = read_image(case.images, axis=split.axis, exif=split.exif)
    image = fitted(stored, case.images, channels=split.channels)
    labels, _ = read_mask(case.masks, split.classes, axis=split.axis, exif=split.exif)
    return Loaded(
        case=case,
        image=image,
        labels=labels,
        geometry=geometry,
        scaling=scaling_of(image, options, source=geometry.source),
        places=_places(labels, split.classes),
    )


def _places(labels: Labels, classes: ClassTable) -> dict[int, NDArray[np.int64]]:
    places = {}
    for index in classes.scored:
        found = np.flatnonzero(labels == index if classes.exclusive else labels[index] == 1)
        if len(found) > _PLACES:
            found = np.random.default_rng(0).choice(found, _PLACES, replace=False)
        if len(found):
            places[index] = found
    return places
