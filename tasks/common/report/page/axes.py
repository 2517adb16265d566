"""Axes of charts: which range, which ticks, and how numbers are written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from tasks.common.report.page.blocks import Limits
from tasks.common.report.page.markup import Markup, element, joined

WIDTH: Final = 1000  # of every drawing, in its own units; it is stretched to the room that there is
_PAD: Final = 0.04  # of the range of the data, on either side
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values; ``whole``: all of them are integers, and so are the ticks."""

    low: float
    high: float
    whole: bool = False

    @classmethod
    def of(cls, values: Iterable[float], limits: Limits | None = None, *, pad: bool = True) -> Self:
        """Return the axis of some values, which need not be finite, or of given limits.

        It begins with 0 if all values are above, and some at least twice as large as others.
        """
        known = [float(value) for value in values if math.isfinite(value)] or [0.0, 1.0]
        whole = all(value.is_integer() for value in known)
        if limits is not None:
            low, high = map(float, limits)
            return cls(low=low, high=high, whole=whole and high - low > 1)
        low, high = min(known), max(known)
        if low == high:
            room = 0.5 if whole or not low else abs(low) / 2
            return cls(low=low - room, high=high + room, whole=whole)
        margin = _PAD * (high - low) if pad else 0.0
        from_zero = pad and 0 <= low <= high / 2
        return cls(low=0.0 if from_zero else low - margin, high=high + margin, whole=whole)

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 (low) to 1 (high)."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Return at most ``most`` round values within the range, each with its text.

        >>> Axis(low=1, high=3, whole=True).ticks()
        [(1.0, '1'), (2.0, '2'), (3.0, '3')]
        """
        step = self._step(most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(round(k * step, 12), tick_text(k * step, step)) for k in range(first, last + 1)]

    def _step(self, most: int) -> float:
        """Return 1, 2 or 5 times a power of 10."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / most))
        steps = [m * power for m in _STEPS if not self.whole or (m * power).is_integer()]
        fitting = [s for s in (*steps, 20 * power, 50 * power) if span / s <= most - 1 + 1e-9]
        return max(fitting[0], 1.0) if self.whole else fitting[0]


def tick_text(value: float, step: float) -> str:
    """Return a tick's value with as many digits as its step has.

    >>> tick_text(0.30000000000000004, 0.1), tick_text(2000, 500), tick_text(2e-5, 1e-5)
    ('0.3', '2000', '2e-5')
    """
    size = max(abs(value), step)
    if not value:
        return "0"
    if step < 1e-4 or size >= 1e6:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def number(value: float) -> str:
    """Return a coordinate, or a value for hovering, in few characters.

    >>> number(404.0), number(1 / 3 * 1000), number(-0.0)
    ('404', '333.33', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def percent(share: float) -> str:
    """Return a length for CSS."""
    return f"{number(100 * share)}%"


def x_ticks(axis: Axis) -> Markup:
    """Return the texts below a drawing, placed by their share of its width."""
    return joined(
        element("span", {"class": "xt", "style": f"left:{percent(axis.share(value))}"}, text)
        for value, text in axis.ticks()
    )


def y_ticks(axis: Axis) -> Markup:
    """Return the lines behind a drawing, with the texts left of it."""
    return joined(
        element(
            "span",
            {"class": "yt", "style": f"bottom:{percent(axis.share(value))}"},
            element("b", {}, text),
        )
        for value, text in axis.ticks()
    )
