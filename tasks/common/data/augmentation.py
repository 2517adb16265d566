"""The random numbers of albumentations, as a function of a seed."""

from typing import Protocol

from tasks.common.data.sampling import draw_seed


class Seeded(Protocol):
    """The part of ``albumentations.Compose`` that is used here."""

    def set_random_seed(self, seed: int) -> None:
        """Restart the random numbers."""


def seed_steps(transform: Seeded, seed: int) -> None:
    """Seed every step differently: albumentations 2.0.8 would have two flips fall together."""
    transform.set_random_seed(seed)
    for number, step in enumerate(getattr(transform, "transforms", ())):
        step.set_random_seed(draw_seed(seed, number))
