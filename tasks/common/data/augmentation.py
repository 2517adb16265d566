"""The random numbers of albumentations, as a function of a seed."""

from typing import Protocol

from tasks.common.data.sampling import draw_seed


class Seeded(Protocol):
    """The part of ``albumentations.Compose`` that is used here."""

    def set_random_seed(self, seed: int) -> None:
        """Restart the random numbers."""


def seed_steps(transform: Seeded, seed: int) -> None:
    """Seed an ``albumentations.Compose``, each of its steps with another seed in [0, 2**32).

    ``Compose.set_random_seed`` gives all steps the same (albumentations 2.0.8), so that a
    horizontal and a vertical flip would happen together or not at all.
    """
    transform.set_random_seed(seed)
    for number, step in enumerate(getattr(transform, "transforms", ())):
        step.set_random_seed(draw_seed(seed, number))
