"""Which units are drawn in each resample, and which swap places in each permutation."""

from typing import Final

import numpy as np

from tasks.common.statistics.score import Floats

RESAMPLES: Final = 2000
SEED: Final = 0


def draw(units: int, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return how often each unit is drawn in each resample, (R, U): U draws with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(units, np.full(units, 1 / units), size=resamples).astype(float)


def swaps(units: int, *, permutations: int = RESAMPLES, seed: int = SEED) -> tuple[Floats, bool]:
    """Return which units swap the two systems in each permutation, (P, U), and if that is all.

    All 2^U permutations if that is at most ``permutations``; else a random part of them.
    """
    if units < 63 and 2**units <= permutations:
        numbers = np.arange(2**units)[:, None] >> np.arange(units)
        return (numbers & 1).astype(float), True
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2, size=(permutations, units)).astype(float), False
