"""The random numbers of albumentations, as a function of a seed."""

from typing import Protocol

from tasks.common.data.sampling import draw_seed


class Seeded(Protocol):
    """What is needed of an ``albumentations.Compose``."""

    def set_random_seed(self, seed: int) -> None:
        """Restart its random numbers.

        Args:
            seed: In [0, 2**32).
        """


def seed_steps(transform: Seeded, seed: int) -> None:
    """Restart the random numbers of a composition, each of its steps from a seed of its own.

    ``Compose.set_random_seed`` gives all steps the same (albumentations 2.0.8), so that a
    horizontal and a vertical flip happen together or not at all.

    Args:
        transform: An ``albumentations.Compose``.
        seed: In [0, 2**32).
    """
    transform.set_random_seed(seed)
    for number, step in enumerate(getattr(transform, "transforms", ())):
        step.set_random_seed(draw_seed(seed, number))
