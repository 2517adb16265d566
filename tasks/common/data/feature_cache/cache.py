"""Entries of all views of all images, computed once; later epochs start from them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from backbones import Backbone
from backbones.errors import UserError
from tasks.common.data.feature_cache.entry import Entry, Place, same_entry
from tasks.common.data.feature_cache.key import feature_key
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.data.feature_cache.store import DiskStore, MemoryStore, NoStore, Store
from tasks.common.data.loading import prepare_worker
from tasks.common.machine.memory import size_text
from tasks.common.report.clock import Part
from tasks.common.report.terminal import print_line

AUTOCAST: Final = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Encoder(ABC):
    """What a task knows of its samples."""

    @property
    @abstractmethod
    def backbone(self) -> Backbone:
        """The backbone whose frozen stages are run."""

    @abstractmethod
    def encode(self, sample: Any, device: torch.device) -> Entry:  # noqa: ANN401 (the task's)
        """Return what the frozen stages make of one sample, alone, whatever its batch will be."""

    @staticmethod
    @abstractmethod
    def collate(entries: list[Entry]) -> Any:  # noqa: ANN401 (the task's)
        """Return the batch of entries; loading processes call it."""

    @abstractmethod
    def pixels(self) -> Sequence[int]:
        """Return the pixels of each image that the backbone sees, padding included."""

    @abstractmethod
    def identity(self) -> Any:  # noqa: ANN401 (JSON values)
        """Return what else decides an entry: data, augmentation, sizes; in plain values."""


class FeatureCache:
    """Entries of all views of all images.

    ``samples`` is the task's training set and takes ``(view, index)``; `bytes`, the size of all
    entries' features, is estimated by the first one.
    """

    def __init__(
        self,
        options: CacheOptions,
        encoder: Encoder,
        samples: Dataset[Any],
        *,
        precision: str,
        device: str,
    ) -> None:
        self.options = options
        self.encoder = encoder
        self.samples = samples
        self.precision = precision
        self.device = device
        self.frozen = encoder.backbone.frozen
        self._dtypes: dict[str, torch.dtype] = {}
        self._pixels = encoder.pixels()
        self.count = len(self._pixels)
        self._total = options.views * self.count
        self.bytes = self._size_of_all(self._first(), index=0)
        self.store = self._new_store()
        self.store.select(self.key())
        self.check_room()

    @property
    def dataset(self) -> "CachedFeatures":
        """What a loader reads in place of the samples."""
        views, count = self.options.views, self.count
        return CachedFeatures(store=self.store, views=views, length=count, dtypes=self._dtypes)

    def workers(self, wanted: int) -> int:
        """Return how many processes load: only files are read by others than this one."""
        return wanted if self.options.where == "disk" else 0

    def fact(self) -> str:
        """Return the banner's line: what is kept, how large it is, and what is free."""
        views = "1 view" if self.options.views == 1 else f"{self.options.views} views"
        what = f"{views} of {self.count} images"
        if self.options.where == "none":
            return f"{what}, nothing kept: every epoch computes the same again"
        there = self._total - len(self._missing())
        already = f", {there} of {self._total} there already" if there else ""
        return (
            f"{what}: {size_text(self.bytes)} in {self._dtype()} in {self._place} "
            f"({size_text(self.store.room())} free{already})"
        )

    @property
    def _place(self) -> str:
        return "memory" if self.options.where == "memory" else self.options.folder

    def check_room(self) -> None:
        """Raise if what is missing does not fit."""
        if self.options.where == "none":
            return
        needed = self.bytes * len(self._missing()) // self._total
        if needed > (room := self.store.room()):
            raise UserError(
                f"the feature cache needs {size_text(needed)} more, and {size_text(room)} are free "
                f"in {self._place}: {self.options.views} views of {self.count} images. Take fewer "
                "feature_cache.views, feature_cache.where=disk, feature_cache.dtype=bf16, or "
                "smaller images."
            )

    def fill(self, *, workers: int) -> None:
        """Compute what is missing, with the weights that the backbone has now."""
        self.store.select(self.key())
        self.check_room()
        missing = self._missing()
        if len(missing) < self._total and self.options.where == "disk":
            self._compare()
        if not missing:
            return
        started = time.monotonic()
        loader: DataLoader[Any] = DataLoader(
            self.samples,
            sampler=missing,
            batch_size=None,
            collate_fn=_same,
            num_workers=workers,
            worker_init_fn=prepare_worker,
            generator=torch.Generator(),  # the global one is the training's
        )
        for place, sample in zip(missing, loader, strict=True):
            entry = self._rounded(self._computed(sample))
            if place == missing[0]:
                self.bytes = self._size_of_all(entry, index=place[1])
                self.check_room()
            self.store.put(place, entry)
        seconds = time.monotonic() - started
        print_line(
            f"feature cache: {len(missing)} of {self._total} computed in {seconds:.0f} s; "
            f"{size_text(self.bytes)} in {self._dtype()}"
        )

    def _first(self) -> Entry:
        """Return an entry as the run's device computes it; the weights are still elsewhere."""
        backbone = self.encoder.backbone
        before = next(backbone.parameters()).device
        backbone.to(self.device)
        try:
            return self._rounded(self._computed(self.samples[0, 0]))
        finally:
            backbone.to(before)

    def _size_of_all(self, entry: Entry, *, index: int) -> int:
        """Return the bytes of all entries' features, by those of one."""
        kept = sum(feature.nbytes for feature in entry.features.values())
        return self.options.views * kept * sum(self._pixels) // self._pixels[index]

    def _dtype(self) -> str:
        if self.options.dtype != "auto":
            return self.options.dtype
        return "/".join(sorted({str(d).removeprefix("torch.") for d in self._dtypes.values()}))

    def _new_store(self) -> Store:
        if self.options.where == "memory":
            return MemoryStore()
        if self.options.where == "disk":
            return DiskStore(Path(self.options.folder))
        return NoStore(lambda place: self._rounded(self._computed(self.samples[place])))

    def _missing(self) -> list[Place]:
        places = [(v, index) for v in range(self.options.views) for index in range(self.count)]
        return [place for place in places if place not in self.store]

    def _computed(self, sample: Any) -> Entry:  # noqa: ANN401 (the task's)
        """Return what the frozen stages make of a sample, as in training; note the dtypes."""
        device = next(self.encoder.backbone.parameters()).device
        dtype = AUTOCAST[self.precision]
        # torchvision's resizing draws a number, which must not be one of the training's.
        with (
            torch.random.fork_rng(devices=[]),
            torch.no_grad(),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
        ):
            entry = self.encoder.encode(sample, device)
        self._dtypes.update({name: feature.dtype for name, feature in entry.features.items()})
        return entry

    def _rounded(self, entry: Entry) -> Entry:
        dtype = _DTYPES.get(self.options.dtype)
        if dtype is None:
            return entry
        features = {name: feature.to(dtype) for name, feature in entry.features.items()}
        for name, feature in features.items():
            if not feature.isfinite().all():
                raise UserError(
                    f"feature_cache.dtype={self.options.dtype} cannot hold {name}, which reaches "
                    f"{entry.features[name].abs().max():.3g}; take bf16 or auto."
                )
        return Entry(features, entry.truth)

    def _compare(self) -> None:
        """Raise unless an entry of each view is what this run would compute."""
        for view in range(self.options.views):
            there = ((view, index) for index in range(self.count))
            place = next((place for place in there if place in self.store), None)
            if place is None:
                continue
            now = self._rounded(self._computed(self.samples[place]))
            if not same_entry(self.store[place], now):
                folder = Path(self.options.folder) / self.key()
                raise UserError(
                    f"{folder} holds other features than this run computes in view {view}, though "
                    "weights, data, options and versions are the same; delete it, or take another "
                    "cache.folder."
                )

    def key(self) -> str:
        """Return the name that the entries have by everything that decides them."""
        # Sums on a CPU come out otherwise with another number of threads.
        device = f"cpu, {torch.get_num_threads()} threads" if self.device == "cpu" else self.device
        decides = [self.options.dtype, self.precision, device, self.encoder.identity()]
        return feature_key(self.encoder.backbone, decides)


class FillFeatureCache(Callback):
    """Fills a cache before the first epoch, when a resumed run has loaded its weights."""

    def __init__(self, cache: FeatureCache, *, workers: int) -> None:
        self.cache = cache
        self.workers = workers

    def on_fit_start(self, trainer: Trainer, *_: object) -> None:
        """Fill the cache."""
        with trainer.profiler.profile(Part.CACHE):  # type: ignore[attr-defined]
            self.cache.fill(workers=self.workers)

    def on_train_epoch_start(self, *_: object) -> None:
        """Raise if the prefix is no longer frozen."""
        frozen = self.cache.encoder.backbone.frozen
        if frozen != self.cache.frozen:
            raise UserError(
                f"the feature cache holds what {self.cache.frozen} frozen stages return, and now "
                f"{frozen} are frozen: leave out feature_cache.views, or keep the stages frozen."
            )


@dataclass(frozen=True, kw_only=True)
class CachedFeatures(Dataset[Entry]):
    """Entries by epoch and index."""

    store: Store
    views: int  # epoch e has view e % views
    length: int
    dtypes: Mapping[str, torch.dtype]  # of what is returned; known when the store is filled

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Place) -> Entry:
        epoch, index = key
        features, truth = self.store[epoch % self.views, index]
        return Entry({name: x.to(self.dtypes[name]) for name, x in features.items()}, truth)


def _same(sample: Any) -> Any:  # noqa: ANN401 (the task's)
    return sample
