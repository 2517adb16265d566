"""Batches that a stopped run can go on with in the middle of an epoch."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from tasks.common.data.loading import prepare_worker
from tasks.common.data.prefix.cache import Encoder, PrefixCache
from tasks.common.data.prefix.options import CacheOptions
from tasks.common.data.sampling import AspectRatioBatchSampler, EpochSampler
from tasks.common.resume.position import Position, position


class ResumableDataModule(lightning.LightningDataModule):
    """Makes loaders whose order is a function of seed and epoch, and remembers what was seen.

    Each rank of a distributed run gets its share, the same number of batches on all; for that a
    sample of val or test can come twice. The Trainer needs ``use_distributed_sampler=False`` there.

    Args:
        workers: Processes that load; 0 loads in the main process. It changes no sample.
        seed: Of order and augmentation, 0 or above.

    Attributes:
        batch_size: Samples per batch and rank.
        cache: Gives the training samples as its entries instead; None for the samples.

    Raises:
        ValueError: If ``workers`` is below 0.
    """

    batch_size: int
    cache: PrefixCache | None = None

    def __init__(self, *, workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        if workers < 0:
            raise ValueError(f"workers is {workers}; expected at least 0.")
        self.workers = workers
        self.seed = seed
        self._next = Position(epoch=0, batches=0)
        self._samples: int | None = None

    def training_set(self) -> Dataset[Any]:
        """Return the samples to learn from, by ``(epoch, index)``."""
        raise NotImplementedError

    def keep_prefix(
        self, options: CacheOptions, encoder: Encoder, *, precision: str, device: str
    ) -> None:
        """Give the training batches as what the frozen stages make of them; see `PrefixCache`."""
        self.cache = PrefixCache(
            options, encoder, self.training_set(), precision=precision, device=device
        )

    def state_dict(self) -> dict[str, int | None]:
        """Return the epoch, how many of its batches were trained on, and of how many samples."""
        where = self._next if self.trainer is None else position(self.trainer)
        return {"epoch": where.epoch, "batches": where.batches, "samples": self._samples}

    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        """Begin the next training loader there."""
        epoch, batches = int(state_dict["epoch"] or 0), int(state_dict["batches"] or 0)
        self._next, self._samples = Position(epoch=epoch, batches=batches), state_dict["samples"]

    def training_loader(
        self,
        dataset: Dataset[Any],
        *,
        aspect_ratios: Sequence[float],
        batch_size: int,
        bins: Sequence[float] = (),
        collate: Callable[[Any], Any] | None = None,
    ) -> DataLoader[Any]:
        """Return shuffled batches, without those that a stopped run has seen.

        Args:
            dataset: Takes ``(epoch, index)``.
            aspect_ratios: Of each sample; see `AspectRatioBatchSampler`.
            batch_size: Samples per batch and rank.
            bins: As in `AspectRatioBatchSampler`; none for one bin.
            collate: Makes a batch of samples; torch's own when None.

        Raises:
            ValueError: If the stopped run had another number of samples.
        """
        if self._samples not in (None, len(aspect_ratios)):
            raise ValueError(
                f"the training data has {len(aspect_ratios)} samples, that of the checkpoint had "
                f"{self._samples}: what the epoch has not seen yet is not known. Use the same "
                "data, or start a new run with init_from set to the checkpoint."
            )
        # To overfit some batches they must be the same in each epoch.
        shuffle = getattr(self.trainer, "overfit_batches", 0) == 0
        sampler = AspectRatioBatchSampler(
            self._sampler(len(aspect_ratios), shuffle=shuffle),
            aspect_ratios,
            batch_size=batch_size,
            bins=bins,
        )
        # Workers fetch ahead before Lightning tells the sampler which epoch it is.
        sampler.sampler.set_epoch(self._next.epoch)
        sampler.skip = self._next.batches
        self._next, self._samples = Position(epoch=0, batches=0), len(aspect_ratios)
        if self.cache is not None:
            workers = self.cache.workers(self.workers)
            return self._loader(
                self.cache.dataset, sampler, self.cache.encoder.collate, workers=workers
            )
        return self._loader(dataset, sampler, collate)

    def ordered_loader(
        self,
        dataset: Dataset[Any],
        *,
        length: int,
        batch_size: int,
        collate: Callable[[Any], Any] | None = None,
    ) -> DataLoader[Any]:
        """Return batches in order; the arguments are those of `training_loader`."""
        sampler = AspectRatioBatchSampler(
            self._sampler(length, shuffle=False), [1.0] * length, batch_size=batch_size, bins=()
        )
        return self._loader(dataset, sampler, collate)

    def _sampler(self, length: int, *, shuffle: bool) -> EpochSampler:
        rank, world = 0, 1
        if self.trainer is not None:
            rank, world = self.trainer.global_rank, self.trainer.world_size
        return EpochSampler(length, seed=self.seed, shuffle=shuffle, rank=rank, world=world)

    def _loader(
        self,
        dataset: Dataset[Any],
        batches: AspectRatioBatchSampler,
        collate: Callable[[Any], Any] | None,
        *,
        workers: int | None = None,
    ) -> DataLoader[Any]:
        workers = self.workers if workers is None else workers
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
            # Without its own, each new iterator advances the global one by a number.
            generator=torch.Generator().manual_seed(self.seed),
        )
