"""What a run has logged: the table that Lightning's CSVLogger writes, as curves."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Series = dict[str, tuple[list[float], list[float]]]  # steps or epochs, and values, by metric

SHARE_SMOOTHED: Final = 0.05  # of the points, averaged into one
_FEWEST: Final = 10  # values worth a moving average


def read_table(metrics_csv: Path) -> dict[str, list[float]]:
    """Return the columns with at least one finite number; other cells are NaN."""
    if not metrics_csv.is_file():
        raise FileNotFoundError(
            f"{metrics_csv} is not there; expected the metrics.csv of a run; "
            "train with Lightning's CSVLogger, which writes it."
        )
    with metrics_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name]
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    return {name: column for name, column in columns.items() if any(map(math.isfinite, column))}


def logged_panels(
    table: Mapping[str, list[float]], scores: Sequence[str] = ()
) -> dict[str, Series]:
    """Return the curves by panel; a panel without a curve is left out, and so are NaN and infinity.

    The panels are: losses over steps (``train/*loss*``, ``val/*loss*``), learning rates over steps
    (``lr*``), scores over epochs from 1 on (other ``val/*`` within [-1, 1]), and the other
    ``val/*``, such as distances in mm. ``scores`` are the ``val/*`` to take, by default all.
    """
    losses = _series(table, "step", lambda name: "loss" in name and name.startswith("train/"))
    losses |= _series(table, "step", lambda name: "loss" in name and name.startswith("val/"))
    checks = _series(table, "epoch", lambda name: "loss" not in name and name.startswith("val/"))
    # Lightning counts epochs from 0, everything that a user reads counts them from 1.
    checks = {
        name: ([epoch + 1 for epoch in epochs], values)
        for name, (epochs, values) in checks.items()
        if not scores or name in scores
    }
    shares = {name: xy for name, xy in checks.items() if max(map(abs, xy[1])) <= 1}
    panels = {
        "loss": losses,
        "learning rate": _series(table, "step", lambda name: name.startswith("lr")),
        "validation": shares,
        "validation, other": {name: xy for name, xy in checks.items() if name not in shares},
    }
    return {title: series for title, series in panels.items() if series}


def smoothed(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the centred moving average of a twentieth of the values, shorter near the ends."""
    half = max(1, round(len(values) * SHARE_SMOOTHED / 2))
    sums = np.cumsum([0.0, *values])
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    first = np.maximum(np.arange(len(values)) - half, 0)
    return np.asarray((sums[last] - sums[first]) / (last - first))


def is_smoothed(name: str, values: Sequence[float]) -> bool:
    """Return whether a loss is shown smoothed as well: it has a value per step, and enough."""
    return not name.startswith("val/") and len(values) >= _FEWEST


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return math.nan


def _series(table: Mapping[str, list[float]], x: str, wanted: Callable[[str], bool]) -> Series:
    series: Series = {}
    for name in filter(wanted, table):
        at = table.get(x, [math.nan] * len(table[name]))
        pairs = zip(at, table[name], strict=True)
        points = [(a, v) for a, v in pairs if math.isfinite(a) and math.isfinite(v)]
        if points:
            series[name] = ([a for a, _ in points], [v for _, v in points])
    return series
