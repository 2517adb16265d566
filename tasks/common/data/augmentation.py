"""What is needed of albumentations: its import, and random numbers as a function of a seed."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Protocol

from tasks.common.data.samplers import draw_seed


class Seeded(Protocol):
    """The part of ``albumentations.Compose`` that is used here."""

    def set_random_seed(self, seed: int) -> None:
        """Restart the random numbers."""


@contextmanager
def albumentations() -> Iterator[ModuleType]:
    """Give the library; within, a misspelt argument is an error, of which it only warns."""
    # Asks a package registry for its newest version when imported, unless this is set.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as library

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield library


def seed_steps(transform: Seeded, seed: int) -> None:
    """Seed every step differently: albumentations 2.0.8 would have two flips fall together."""
    transform.set_random_seed(seed)
    for number, step in enumerate(getattr(transform, "transforms", ())):
        step.set_random_seed(draw_seed(seed, number))
