"""Bootstrap intervals: studentised where a score has a standard error, BCa where it has none.

`benchmarks/scores/intervals.py` simulates how often they cover the truth; the figures are in
docs/comparing.md. Plain percentile intervals are too short for few units.
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

    Source: Efron and Tibshirani (1993), chapter 12 (bootstrap-t) and chapter 14 (BCa);
    DiCiccio and Efron, Bootstrap Confidence Intervals, Statistical Science 11 (1996).
    """
    values = score.of_all()
    if score.units < 2:
        ends = np.full((2, len(values)), np.nan)
    else:
        drawn = score.values(weights)
        errors = score.errors(weights)
        if errors is None:
            ends = _bca(drawn, values, _left_out(score), level=level, units=score.units)
        else:
            error = score.errors(np.ones((1, score.units)))
            ends = _studentised(drawn, errors, values, error, level=level)  # type: ignore[arg-type]
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


def _studentised(
    drawn: Floats, errors: Floats, values: Floats, error: Floats, *, level: float
) -> Floats:
    """Return both ends (2, M): the values minus the quantiles of t, in standard errors."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (drawn - values) / errors
    tail = (1 - level) / 2
    high, low = (_quantile(t, at) for at in (tail, 1 - tail))
    with np.errstate(invalid="ignore"):
        ends = values - np.stack([low, high]) * error
    return np.where(error > 0, ends, np.nan)


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
        below = (np.count_nonzero(known < value) + np.count_nonzero(known <= value)) / 2
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


def _quantile(values: Floats, level: float) -> Floats:
    """Return a quantile of each column; of columns without a number, NaN."""
    columns = (column[~np.isnan(column)] for column in values.T)
    found = (np.quantile(c, level, method="nearest") if c.size else np.nan for c in columns)
    return np.array([*found], float)
