"""Whether one of two systems is better on the same test set, with a verdict in words.

The interval of the difference comes from a paired bootstrap: each resample draws units, and both
systems are scored on them. The test is by permutation: if the systems were alike, their answers to
any unit could be swapped. "Better" needs both: p below 5 %, and an interval without 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from backbones.errors import UserError
from tasks.common.statistics.interval import LEVEL, Interval, intervals
from tasks.common.statistics.resampling import RESAMPLES, SEED, draw, swaps
from tasks.common.statistics.score import Difference, Floats, Score, parts_of

ALPHA: Final = 1 - LEVEL
_FEWEST: Final = 6  # with fewer units no permutation test reaches 5 %: 2 / 2^5 is 0.06
_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A test set as a system answered it, ready to be resampled."""

    score: Score
    heading: str  # of the main number, such as AP
    noun: str  # of a unit: image, case or patient
    truth: Mapping[str, str]  # of each image, a text that another truth of it does not have

    @property
    def of_what(self) -> str:
        """The units as text: ``72 images``."""
        units = self.score.units
        return f"{units} {self.noun}{'s' if units != 1 else ''}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the number of a second system differs from that of the first, on the same units."""

    difference: Interval  # the second minus the first
    p: float  # two-sided, of the permutation test

    def differs(self, *, p: float | None = None) -> bool:
        """Return whether there is a difference; ``p`` may be one that counts several tests."""
        return (self.p if p is None else p) < ALPHA and self.difference.excludes_zero

    def verdict(self, *, p: float | None = None) -> str:
        """Return the verdict on the second system: ``better by 0.021 (95% interval ...)``."""
        found = self.difference
        if not found.known:
            return (
                "no difference in any resample"
                if found.score == 0
                else "no interval of the difference"
            )
        if not self.differs(p=p):
            few = f"; {found.units} are too few to show one" if found.units < _FEWEST else ""
            return f"no detectable difference ({found.ends}{few})"
        kind = "better" if found.score > 0 else "worse"
        return f"{kind} by {abs(found.score):.3f} ({found.level:.0%} interval {_apart(found)})"


def compare(
    first: Scored, second: Scored, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Comparison]:
    """Return how each number differs, by name: the main one and those of the classes.

    Raises:
        UserError: If the two were not scored on the same images with the same truth.

    Source: paired bootstrap and permutation test, Efron and Tibshirani, An Introduction to the
    Bootstrap (1993), chapters 8, 15 and 16.
    """
    check_same_truth(first, second)
    both = Difference(first.score, second.score)
    found = intervals(both, draw(both.units, resamples=resamples, seed=seed))
    p = permutation_test(first.score, second.score, permutations=resamples, seed=seed)
    return {
        name: Comparison(difference=one, p=float(of_one))
        for (name, one), of_one in zip(found.items(), p, strict=True)
    }


def permutation_test(
    first: Score, second: Score, *, permutations: int = RESAMPLES, seed: int = SEED
) -> Floats:
    """Return the two-sided p-value of each number, (M,): the systems swap units at random.

    It is exact if there are at most ``permutations`` ways to swap; else the observed difference
    counts as one of them, so that p is never 0. NaN where a number cannot be measured.

    Source: Phipson and Smyth, Permutation P-values Should Never Be Zero (2010).
    """
    which, is_all = swaps(first.units, permutations=permutations, seed=seed)
    both = first.beside(second)
    parts = []
    for swapped in parts_of(which, first.units):
        kept = 1 - swapped
        ours = both.values(np.concatenate([kept, swapped], axis=1))
        theirs = both.values(np.concatenate([swapped, kept], axis=1))
        parts.append(theirs - ours)
    drawn = np.concatenate(parts)
    observed = np.abs(second.of_all() - first.of_all())
    slack = 1e-12 + 1e-9 * observed  # sums in another order are not equal to the last bit
    extreme = (np.abs(drawn) >= observed - slack).sum(0)
    p = extreme / len(drawn) if is_all else (extreme + 1) / (len(drawn) + 1)
    return np.where(np.isnan(observed), np.nan, p)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p-values that count each other as further tests; NaN stays NaN.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).

    >>> adjusted([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    found = np.array(p_values, float)
    order = np.argsort(found)[: np.count_nonzero(~np.isnan(found))]
    steps = found[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in found]


def p_text(p: float) -> str:
    """Return a p-value for a table; 2,000 permutations can only say that it is below 0.001."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def check_same_truth(
    first: Scored, second: Scored, *, names: tuple[str, str] = ("the first", "the second")
) -> None:
    """Raise UserError if two systems were not scored on the same images with the same truth."""
    if fault := other_truth(first, second, names=names):
        raise UserError(
            f"{fault}. Only scores of the same test set can be compared: score both with the same "
            "truth."
        )


def other_truth(first: Scored, second: Scored, *, names: tuple[str, str]) -> str:
    """Return how the truth of two systems differs, or an empty text."""
    if first.score.names != second.score.names:
        ours, theirs = (", ".join(one.score.names) for one in (first, second))
        return f"{names[0]} has the scores {ours}; {names[1]} has {theirs}"
    for one, other, name in ((first, second, names[0]), (second, first, names[1])):
        if only := sorted(one.truth.keys() - other.truth.keys()):
            of_all = len(one.truth.keys() | other.truth.keys())
            return f"{len(only)} of {of_all} images are in {name} only: {_some(only)}"
    if first.of_what != second.of_what:
        return f"{names[0]} has {first.of_what}, {names[1]} has {second.of_what}"
    if changed := sorted(name for name, text in first.truth.items() if second.truth[name] != text):
        return (
            f"the truth of {len(changed)} of {len(first.truth)} images is not the same in "
            f"{names[0]} and {names[1]}: {_some(changed)}"
        )
    return ""


def as_json(found: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """Return comparisons by name as plain values."""
    return {
        name: {
            "difference": one.difference.score,
            "low": one.difference.low,
            "high": one.difference.high,
            "p": one.p,
            "verdict": one.verdict(),
        }
        for name, one in found.items()
    }


def _apart(found: Interval) -> str:
    """Return both ends as distances from 0, the nearer one first."""
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{low:.3f} to {high:.3f}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
