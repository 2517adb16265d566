"""Bootstrap intervals: BCa, bias-corrected and accelerated, widened for few units.

`benchmarks/scores/intervals.py` simulates how often they hold the truth; the figures are in
docs/comparing.md. Plain percentile intervals are too short for few units; studentised ones hold it
as often as these, but can be without end where most units have the same value, as differences have.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from scipy.special import stdtrit

from tasks.common.statistics.score import Floats, Score, parts_of

LEVEL: Final = 0.95
ENOUGH: Final = 20
"""With fewer units the true score lies outside too often; figures are in docs/comparing.md."""

_GROUPS: Final = 200  # units are left out one by one up to this number, else in as many groups
_NORMAL: Final = NormalDist()
_SLACK: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score and the ends of its interval; NaN if it has none."""

    score: float
    low: float
    high: float
    units: int
    level: float = LEVEL

    def __str__(self) -> str:
        """Return the text for a table: ``0.317 (0.291 to 0.342)``."""
        if math.isnan(self.score):
            return "-"
        return f"{self.score:.3f} ({self.ends})" if self.known else f"{self.score:.3f}"

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def ends(self) -> str:
        """Both ends as text: ``0.291 to 0.342``; a dash if there is no interval."""
        return f"{self.low:.3f} to {self.high:.3f}" if self.known else "-"

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside."""
        return self.known and not self.low <= 0 <= self.high


def intervals(score: Score, weights: Floats, *, level: float = LEVEL) -> dict[str, Interval]:
    """Return the interval of each number of a score, by name, from resamples (R, U) of its units.

    Resamples in which a number cannot be measured are left out. Fewer than 2 units have no
    interval, and neither has a number that is the same in every resample.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 14; DiCiccio and
    Efron, Bootstrap Confidence Intervals, Statistical Science 11 (1996).
    """
    values = score.of_all()
    if score.units < 2:
        ends = np.full((2, len(values)), np.nan)
    else:
        drawn = score.values(weights)
        ends = _bca(drawn, values, _left_out(score), level=level, units=score.units)
        ends = np.clip(ends, *score.limits)
    return {
        name: Interval(
            score=float(value), low=float(low), high=float(high), units=score.units, level=level
        )
        for name, value, low, high in zip(score.names, values, *ends, strict=True)
    }


def interval_note(units: int, noun: str) -> str:
    """Return a sentence on the interval of a score of few units, or an empty text."""
    if units < 2:
        return f"one {noun} has no interval"
    if units < ENOUGH:
        return (
            f"with {units} {noun}s, fewer than {ENOUGH}, the true score lies outside of a "
            f"{LEVEL:.0%} interval more often than in {1 - LEVEL:.0%} of such sets"
        )
    return ""


def as_json(found: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    """Return intervals by name as plain values."""
    return {
        name: {"score": one.score, "low": one.low, "high": one.high} for name, one in found.items()
    }


def _bca(drawn: Floats, values: Floats, left_out: Floats, *, level: float, units: int) -> Floats:
    """Return both ends (2, M): quantiles of what was drawn, at levels that mend bias and skew.

    The normal quantile of the level is widened as Student's t is, for the units' number.

    Source for that: Hesterberg, What Teachers Should Know About the Bootstrap, The American
    Statistician 69 (2015), section 4.5.2.
    """
    ends = np.empty((2, len(values)))
    wide = math.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 + level) / 2)
    for m, value in enumerate(values):
        known = drawn[~np.isnan(drawn[:, m]), m]
        if not known.size or np.ptp(known) == 0:
            ends[:, m] = np.nan
            continue
        # Equal ones count half; sums in another order are not equal to the last bit.
        below = (known < value - _SLACK).sum() / 2 + (known <= value + _SLACK).sum() / 2
        share = np.clip(below / len(known), 0.5 / len(known), 1 - 0.5 / len(known))
        bias, skew = _NORMAL.inv_cdf(float(share)), _acceleration(left_out[:, m])
        for end, z in enumerate((-wide, wide)):
            # The denominator is positive unless the skew is beyond any use.
            moved = bias + (bias + z) / max(1 - skew * (bias + z), 0.1)
            ends[end, m] = np.quantile(known, _NORMAL.cdf(moved))
    return ends


def _acceleration(left_out: Floats) -> float:
    """Return a sixth of the skewness of the score, from its values without each group."""
    known = left_out[~np.isnan(left_out)]
    if known.size < 2:
        return 0.0
    apart = known.mean() - known
    scale = float((apart**2).sum()) ** 1.5
    return float((apart**3).sum()) / (6 * scale) if scale else 0.0


def _left_out(score: Score) -> Floats:
    """Return the numbers without each unit in turn, or without each of as many groups of units."""
    groups = min(score.units, _GROUPS)
    weights = np.ones((groups, score.units))
    weights[np.arange(score.units) % groups, np.arange(score.units)] = 0
    return np.concatenate([score.values(part) for part in parts_of(weights, score.units)])
