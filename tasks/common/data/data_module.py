"""A data module whose runs can resume in the middle of an epoch."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from backbones.errors import UserError
from tasks.common.data.feature_cache.cache import FeatureCache
from tasks.common.data.loading import prepare_worker
from tasks.common.data.samplers import AspectRatioBatchSampler, EpochSampler
from tasks.common.resume.position import Position, position


class ResumableDataModule(lightning.LightningDataModule):
    """Makes loaders whose order depends on seed and epoch alone, and stores the position in them.

    All ranks get the same number of batches; for that a sample of val or test can come twice. The
    Trainer needs ``use_distributed_sampler=False``.
    """

    batch_size: int  # samples per batch and rank
    cache: FeatureCache | None = None  # takes the place of the training samples

    def __init__(self, *, workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        if workers < 0:
            raise ValueError(f"workers is {workers}; expected at least 0.")
        self.workers = workers
        self.seed = seed
        self._next = Position(epoch=0, batches=0)
        self._samples: int | None = None

    def training_set(self) -> Dataset[Any]:
        """Return the training samples, by ``(epoch, index)``."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, int | None]:
        """Return the epoch, how many of its batches were trained on, and of how many samples."""
        where = self._next if self.trainer is None else position(self.trainer)
        return {"epoch": where.epoch, "batches": where.batches, "samples": self._samples}

    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        """Let the next training loader begin at the stored position."""
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
        """Return shuffled batches of samples by ``(epoch, index)``, without those seen already.

        ``aspect_ratios`` and ``bins`` are those of `AspectRatioBatchSampler`.
        """
        if self._samples not in (None, len(aspect_ratios)):
            raise UserError(
                f"the training data has {len(aspect_ratios)} samples, that of the checkpoint had "
                f"{self._samples}: what the epoch has not seen yet is not known. Use the same "
                "data, or start a new run with init_from set to the checkpoint."
            )
        # Overfitting a few batches needs the same ones in each epoch.
        shuffle = getattr(self.trainer, "overfit_batches", 0) == 0
        sampler = AspectRatioBatchSampler(
            self._sampler(len(aspect_ratios), shuffle=shuffle),
            aspect_ratios,
            batch_size=batch_size,
            bins=bins,
        )
        # Workers fetch ahead before Lightning sets the sampler's epoch.
        sampler.sampler.set_epoch(self._next.epoch)
        sampler.skip = self._next.batches
        self._next, self._samples = Position(epoch=0, batches=0), len(aspect_ratios)
        workers, cache = self.workers, self.cache
        if cache is not None:
            dataset, collate, workers = cache.dataset, cache.encoder.collate, cache.workers(workers)
        return self._loader(dataset, sampler, collate, workers=workers)

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
        return self._loader(dataset, sampler, collate, workers=self.workers)

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
        workers: int,
    ) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
            # Without a generator of its own, each iterator would advance the global one.
            generator=torch.Generator().manual_seed(self.seed),
        )
