"""The order of images and batches, a function of seed and epoch alone."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch.utils.data import Sampler

Key = tuple[int, int]  # epoch and index of a sample, from which a data set draws its random numbers

ASPECT_BINS: Final = (0.8, 1.25)  # Width / height at which portrait ends and landscape begins


def draw_seed(seed: int, *position: int) -> int:
    """Return a seed in [0, 2**32) for one place in a run, such as an epoch and an index.

    Neighbouring places and seeds give unrelated numbers. All arguments are 0 or above.

    >>> draw_seed(0, 1, 2) == draw_seed(0, 1, 2), draw_seed(0, 1, 2) == draw_seed(0, 2, 1)
    (True, False)
    """
    # The count keeps (1,) and (1, 0) apart, which numpy pads to the same.
    entropy = (len(position), seed, *position)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


class EpochSampler(Sampler[Key]):
    """Yields ``(epoch, index)`` in an order that depends on seed and epoch alone.

    The epoch comes with the index, so that workers know it; Lightning calls `set_epoch`. Of
    ``world`` ranks each gets every ``world``-th key; up to ``world - 1`` keys are repeated, so that
    all get as many. Without ``shuffle`` the order is 0, 1, 2, ...
    """

    def __init__(
        self, length: int, *, seed: int, shuffle: bool, rank: int = 0, world: int = 1
    ) -> None:
        if length < 1:
            raise ValueError(f"length is {length}; expected a data set of at least 1 image.")
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank} of world {world}; expected 0 <= rank < world.")
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.world)

    def __iter__(self) -> Iterator[Key]:
        order = list(range(self.length))
        if self.shuffle:
            order = _permutation(self.length, draw_seed(self.seed, self.epoch))
        repeats = -(-len(self) * self.world // self.length)
        mine = (order * repeats)[self.rank : len(self) * self.world : self.world]
        yield from ((self.epoch, index) for index in mine)


class AspectRatioBatchSampler(Sampler[list[Key]]):
    """Groups the keys of an `EpochSampler` into batches of similar aspect ratio, to pad little.

    The keys are sorted by aspect bin and cut every ``batch_size``, so that at most one batch per
    border of bins is mixed, and the number of batches, ``ceil(len(sampler) / batch_size)``, is the
    same in each epoch and on each rank. The batches are shuffled if the sampler shuffles.
    ``aspect_ratios`` are width / height of every image; ``bins`` are the ratios, ascending, at
    which a new bin begins. The next iteration leaves out `skip` batches, which a stopped run has
    seen.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        aspect_ratios: Sequence[float],
        *,
        batch_size: int,
        bins: Sequence[float] = ASPECT_BINS,
    ) -> None:
        if not isinstance(sampler, EpochSampler):
            raise TypeError(
                f"sampler is a {type(sampler).__name__}; expected an EpochSampler, which shards by "
                "itself. Pass use_distributed_sampler=False to the Trainer."
            )
        if len(aspect_ratios) != sampler.length:
            raise ValueError(
                f"{len(aspect_ratios)} aspect_ratios for {sampler.length} images; expected as many."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
        if list(bins) != sorted(bins):
            raise ValueError(f"bins are {tuple(bins)}; expected them ascending.")
        self.sampler = sampler
        self.batch_size = batch_size
        self.skip = 0
        self._bin = [bisect_right(bins, ratio) for ratio in aspect_ratios]

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        keys = sorted(self.sampler, key=lambda key: self._bin[key[1]])
        size = self.batch_size
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        order = list(range(len(batches)))
        if self.sampler.shuffle:
            seed = draw_seed(self.sampler.seed, self.sampler.epoch, len(batches))
            order = _permutation(len(batches), seed)
        done, self.skip = self.skip, 0
        yield from (batches[index] for index in order[done:])


def _permutation(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order
