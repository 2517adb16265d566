"""A row of a task's table of metrics: how it is made, which way is better, where it is shown."""

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """One metric, as logs, JSON, the printed table, the curves and the best checkpoint need it."""

    name: str  # in logs and JSON
    compute: Callable[..., Any]  # makes it, of what the task has
    _: KW_ONLY
    heading: str = ""  # of its column in the printed table of scores; empty if it has none
    best: Literal["highest", "lowest", "zero"] = "highest"  # which value is the best
    shown: Literal["epoch", "curve", ""] = ""  # epoch: printed each epoch, and drawn


def monitored(metrics: Iterable[Metric]) -> str:
    """Return what chooses the best checkpoint, where higher is better: the first that allows it."""
    return next(f"val/{metric.name}" for metric in metrics if metric.best == "highest")


def shown(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Return what is drawn of the validation; what is printed after each epoch comes first."""
    drawn = sorted((metric for metric in metrics if metric.shown), key=lambda m: m.shown == "curve")
    return tuple(f"val/{metric.name}" for metric in drawn)
