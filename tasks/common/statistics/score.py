"""A score as a function of how often each unit of a test set counts.

A unit is what was drawn at random when the set was collected: an image, or a patient with all of
their images. A score such as AP is no mean over images, but it can be computed of any multiset of
them; resampling needs no more. Axes: R rows of weights, U units, M numbers, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)
_AT_ONCE: Final = 1 << 20  # numbers in an array of a part; bounds the memory


class Score(ABC):
    """M numbers of a test set of U units; ``names[0]`` is the main one. NaN: cannot be measured.

    ``limits`` are the lowest and the highest value that a number can have.
    """

    names: tuple[str, ...]
    units: int
    limits: tuple[float, float]

    @abstractmethod
    def values(self, weights: Floats) -> Floats:
        """Return the numbers (R, M) if the units count as often as ``weights`` (R, U) says."""

    @abstractmethod
    def beside(self, other: Self) -> Self:
        """Return the score of the 2U units of both, this one's first."""

    def of_all(self) -> Floats:
        """Return the numbers (M,) of the whole set, each unit counted once."""
        values: Floats = self.values(np.ones((1, self.units)))[0]
        return values


class MeanScore(Score):
    """The mean over classes of each class's mean over cases, and the mean of each class.

    NaN among the cases' values (N, K) is left out of a mean; a class without any other is left out
    of the mean over classes. ``clusters`` says which unit each case belongs to, by default one of
    its own. Numbers are called ``name`` and ``name/<class>``.
    """

    def __init__(
        self,
        values: Floats,
        *,
        name: str,
        classes: Sequence[str],
        clusters: Sequence[Hashable] | None = None,
        limits: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.names = (name, *(f"{name}/{of_class}" for of_class in classes))
        self.limits = limits
        known = ~np.isnan(values)
        unit_of = places(range(len(values)) if clusters is None else clusters)
        self.units = int(unit_of.max(initial=-1)) + 1
        self._sums, self._counts = np.zeros((2, self.units, len(classes)))
        np.add.at(self._sums, unit_of, np.where(known, values, 0.0))
        np.add.at(self._counts, unit_of, known)

    def values(self, weights: Floats) -> Floats:
        """Return the numbers (R, M) if the units count as often as ``weights`` (R, U) says."""
        with np.errstate(invalid="ignore"):
            of_classes = (weights @ self._sums) / (weights @ self._counts)
        return np.column_stack([mean_of_known(of_classes), of_classes])

    def beside(self, other: Self) -> Self:
        """Return the score of the 2U units of both, this one's first."""
        joined = object.__new__(type(self))
        joined.names, joined.limits = self.names, self.limits
        joined.units = self.units + other.units
        joined._sums = np.concatenate([self._sums, other._sums])
        joined._counts = np.concatenate([self._counts, other._counts])
        return joined


class Difference(Score):
    """The second score minus the first one, of the same units."""

    def __init__(self, first: Score, second: Score) -> None:
        self.names, self.units = first.names, first.units
        span = first.limits[1] - first.limits[0]
        self.limits = -span, span
        self._first, self._second = first, second

    def values(self, weights: Floats) -> Floats:
        """Return the numbers (R, M) if the units count as often as ``weights`` (R, U) says."""
        return self._second.values(weights) - self._first.values(weights)

    def beside(self, other: Self) -> Self:
        """Return the score of the 2U units of both, this one's first."""
        return type(self)(self._first.beside(other._first), self._second.beside(other._second))


def places(labels: Sequence[Hashable] | range) -> NDArray[np.int64]:
    """Return each label's place among the different ones, in the order of their appearance.

    >>> places(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], np.int64)


def mean_of_known(values: Floats) -> Floats:
    """Return the mean over the last axis without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    sums = np.where(known, values, 0.0).sum(-1)
    counts = known.sum(-1)
    means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


def parts_of(weights: NDArray[Number], width: int) -> list[NDArray[Number]]:
    """Return the rows of weights in parts, of which an array of that width stays small."""
    rows = max(1, _AT_ONCE // max(width, 1))
    return [weights[first : first + rows] for first in range(0, len(weights), rows)]
