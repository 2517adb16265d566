"""Patches to learn from, and whole cases to be scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tasks.common.data.samplers import Key, draw_seed
from tasks.segmentation.data.cases import Image, Labels
from tasks.segmentation.data.input import Preprocessing, Scaling
from tasks.segmentation.data.store import CaseStore, Loaded
from tasks.segmentation.data.transforms import PatchTransform
from tasks.segmentation.options import InputOptions


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Random patches of every slice in turn, different ones in each epoch.

    A sample is ``(image, labels)``: (n, h, w) float32 as the network sees it, and (h, w) uint8, or
    (K, h, w) where classes overlap. It depends on (seed, epoch, index) alone. For the share
    ``options.foreground`` of the samples, a class of the case is drawn and then one of its pixels,
    which the patch contains; that pixel may lie in another slice of the case. Images smaller than a
    patch are mirrored at their edges. ``depths`` are the numbers of slices of the cases.
    """

    def __init__(
        self,
        store: CaseStore,
        depths: Sequence[int],
        *,
        preprocessing: Preprocessing,
        options: InputOptions,
        transform: PatchTransform | None,
        seed: int,
    ) -> None:
        self.store = store
        self.preprocessing = preprocessing
        self.options = options
        self.transform = transform
        self.seed = seed
        self._slices = [(case, z) for case, depth in enumerate(depths) for z in range(depth)]

    def __len__(self) -> int:
        return self.options.patches

    def __getitem__(self, key: Key | int) -> tuple[Tensor, Tensor]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        seed = draw_seed(self.seed, epoch, index)
        random = np.random.default_rng(seed)
        case, z = self._slices[(epoch * len(self) + index) % len(self._slices)]
        loaded = self.store[case]
        size, patch = loaded.image.shape[-2:], self.options.patch
        z, pixel = self._drawn(loaded, z, random)
        sides = zip(size, patch, pixel, strict=True)
        rows, columns = (_span(have, want, at, random) for have, want, at in sides)
        seen = self.preprocessing(loaded.image[..., rows, columns], z, scaling=loaded.scaling)
        truth = loaded.labels[..., z, rows, columns]
        image = np.pad(seen, _pads(seen.shape, patch), mode="symmetric")
        labels = np.pad(truth, _pads(truth.shape, patch), mode="symmetric")
        if self.transform is not None:
            image, labels = self.transform(image, labels, seed=seed)
        return torch.from_numpy(image), torch.from_numpy(np.ascontiguousarray(labels))

    def _drawn(
        self, loaded: Loaded, z: int, random: np.random.Generator
    ) -> tuple[int, tuple[int | None, int | None]]:
        """Return the slice, and a pixel that the patch must contain, if one was drawn."""
        if not loaded.places or random.random() >= self.options.foreground:
            return z, (None, None)
        places = loaded.places[int(random.choice(sorted(loaded.places)))]
        at = np.unravel_index(int(random.choice(places)), loaded.image.shape[1:])
        return int(at[0]), (int(at[1]), int(at[2]))


@dataclass(frozen=True, kw_only=True)
class CaseSample:
    """A whole case, as a network sees it and as it is scored.

    The image is (D, n, H, W), float32: a batch of slices; labels are (D, H, W) or (K, D, H, W), the
    spacing is along slices, rows and columns.
    """

    name: str
    image: Tensor
    labels: Labels
    spacing: tuple[float, float, float]
    unit: str


@dataclass(eq=False)
class CaseDataset(Dataset[CaseSample]):
    """Every case, whole and in order."""

    store: CaseStore
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key | int) -> CaseSample:
        loaded = self.store[key[1] if isinstance(key, tuple) else key]
        return CaseSample(
            name=loaded.case.name,
            image=whole_input(loaded.image, loaded.scaling, preprocessing=self.preprocessing),
            labels=loaded.labels,
            spacing=loaded.geometry.spacing,
            unit=loaded.geometry.unit,
        )


def whole_input(image: Image, scaling: Scaling, *, preprocessing: Preprocessing) -> Tensor:
    """Return all slices of a case (C, D, H, W) as the network sees them, (D, n, H, W)."""
    depth, height, width = image.shape[1:]
    seen = np.empty((depth, len(preprocessing.mean), height, width), np.float32)
    for z in range(depth):
        seen[z] = preprocessing(image, z, scaling=scaling)
    return torch.from_numpy(seen)


def _span(have: int, want: int, at: int | None, random: np.random.Generator) -> slice:
    """Return ``want`` neighbouring indices at random, with ``at``; all if ``have`` is less."""
    if have <= want:
        return slice(0, have)
    low, high = (0, have - want) if at is None else (max(0, at - want + 1), min(at, have - want))
    start = int(random.integers(low, high + 1))
    return slice(start, start + want)


def _pads(shape: Sequence[int], patch: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding before and after each axis that makes it as large as the patch."""
    lacks = [want - have for want, have in zip(patch, shape[-2:], strict=True)]
    return [(0, 0)] * (len(shape) - 2) + [(lack // 2, lack - lack // 2) for lack in lacks]
