"""What both tasks share of augmentation: the ranges of its options, and its random numbers.

Those of albumentations become a function of a seed, and are not the same everywhere.
"""

import math
from collections.abc import Sequence
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


def check_probabilities(options: object, *names: str) -> None:
    """Refuse options of the ``augment`` group that are no probabilities.

    Args:
        options: Has them as attributes.
        names: Of those to look at.

    Raises:
        ValueError: If one is not a number from 0 to 1.
    """
    for name in names:
        if not 0 <= (value := getattr(options, name)) <= 1:
            raise ValueError(f"augment.{name} takes a probability from 0 to 1, got {value}.")


def check_amounts(options: object, *names: str, below: float = math.inf) -> None:
    """Refuse options of the ``augment`` group that are no sizes of a change.

    Args:
        options: Has them as attributes.
        names: Of those to look at.
        below: What none of them reaches.

    Raises:
        ValueError: If one is negative, not a number, or too large.
    """
    range_ = "of at least 0" if below == math.inf else f"from 0 to below {below:g}"
    for name in names:
        if not 0 <= (value := getattr(options, name)) < below:
            raise ValueError(f"augment.{name} takes a number {range_}, got {value}.")


def check_zoom(scale: Sequence[float]) -> None:
    """Refuse an ``augment.scale`` that is not the lowest and the highest zoom.

    Args:
        scale: Both.

    Raises:
        ValueError: If they are not two finite numbers above 0, the lowest first.
    """
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] < math.inf:
        raise ValueError(
            "augment.scale takes the lowest and the highest zoom, such as [0.8, 1.25], got "
            f"{list(scale)}."
        )
