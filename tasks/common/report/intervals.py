"""Scores printed with their intervals, and compared with another system's on the same test set."""

from dataclasses import dataclass
from typing import Any

from tasks.common.report.terminal import print_line, print_scores
from tasks.common.statistics import interval, paired
from tasks.common.statistics.interval import LEVEL, Interval, interval_note, intervals
from tasks.common.statistics.paired import (
    Comparison,
    Scored,
    check_same_truth,
    compare,
    p_text,
)
from tasks.common.statistics.resampling import SEED, draw


@dataclass(frozen=True)
class Named:
    """Answers to a test set, and whose they are."""

    name: str
    scored: Scored


def report_intervals(
    ours: Named, against: Named | None = None, *, resamples: int
) -> dict[str, Any]:
    """Print the interval of the main score, and a comparison with another system; return both.

    Returns what JSON files have besides the scores: ``intervals`` and ``comparison``; nothing
    without ``resamples``.
    """
    if not resamples:
        return {}
    if against is not None:
        names = ours.name, against.name
        check_same_truth(ours.scored, against.scored, names=names)
    found = _print_interval(ours, resamples=resamples)
    record: dict[str, Any] = {
        "intervals": {
            "level": LEVEL,
            "units": ours.scored.of_what,
            "resamples": resamples,
            "seed": SEED,
            "scores": interval.as_json(found),
        }
    }
    if against is not None:
        theirs = _print_interval(against, resamples=resamples)
        compared = compare(against.scored, ours.scored, resamples=resamples)
        _print_comparison(ours, against, found, theirs, compared)
        record["comparison"] = {"against": against.name, "scores": paired.as_json(compared)}
    return record


def _print_interval(named: Named, *, resamples: int) -> dict[str, Interval]:
    one = named.scored
    found = intervals(one.score, draw(one.score.units, resamples=resamples))
    main = found[one.score.names[0]]
    what = f"{main.level:.0%} interval {main.ends}" if main.known else "no interval"
    drawn = f"{resamples} resamples of {one.of_what}"
    print_line(f"{named.name}: {one.heading} {main.score:.3f}, {what} ({drawn})")
    if note := interval_note(one.score.units, one.noun):
        print_line(f"note: {note}")
    return found


def _print_comparison(
    ours: Named,
    against: Named,
    found: dict[str, Interval],
    theirs: dict[str, Interval],
    compared: dict[str, Comparison],
) -> None:
    columns = ["this", "against", "difference", "p"]
    rows: dict[str, list[float | int | str]] = {
        name: [str(found[name]), str(theirs[name]), str(one.difference), p_text(one.p)]
        for name, one in compared.items()
    }
    print_scores(f"{ours.name}, against {against.name}; with {LEVEL:.0%} intervals", columns, rows)
    print_line(f"{ours.name} against {against.name}: {compared[next(iter(compared))].verdict()}")
