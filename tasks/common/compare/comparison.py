"""Runs grouped by their test set; in each group, intervals and tests against one of the runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbones.errors import UserError
from tasks.common.compare.runs import Run
from tasks.common.files.paths import listed
from tasks.common.report.terminal import with_progress
from tasks.common.statistics.interval import Interval, intervals
from tasks.common.statistics.paired import Comparison, Scored, adjusted, compare, other_truth
from tasks.common.statistics.resampling import RESAMPLES, draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A run with its scores, by name; the first one is the main one."""

    run: Run
    scores: Mapping[str, float]
    heading: str = ""  # of the main score
    intervals: Mapping[str, Interval] | None = None
    why_not: str = ""  # why it has no interval
    compared: Mapping[str, Comparison] | None = None  # with the run that others are compared with
    p: float = math.nan  # of the main score; counts the tests of the whole group

    @property
    def main(self) -> float:
        """The main score."""
        return next(iter(self.scores.values()), math.nan)

    @property
    def interval(self) -> Interval | None:
        """That of the main score."""
        return self.intervals[next(iter(self.scores))] if self.intervals else None

    @property
    def difference(self) -> Comparison | None:
        """That of the main score."""
        return self.compared[next(iter(self.scores))] if self.compared else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Runs that were scored on the same images with the same truth; without it, one by one."""

    entries: Sequence[Entry]
    reference: Entry | None = None  # the run that the others are compared with
    of_what: str = ""  # the test set: "72 images"; empty where it is not known
    noun: str = ""  # of one of them
    apart: str = ""  # how the test set differs from that of the first group


def group_runs(
    runs: Sequence[Run],
    *,
    kept: Callable[[Path], Scored],
    main_scores: Callable[[Mapping[str, Any]], Mapping[str, float]],
    against: Run | None = None,
    resamples: int = RESAMPLES,
) -> list[Group]:
    """Return the runs of one task by test set: the group of ``against``, or of the first, is first.

    ``kept`` reads what a run keeps of its test image by image; ``main_scores`` are the scores of
    the same names in ``metrics.json``, for runs that keep nothing: these are a last group.
    """
    check_task(runs)
    known: list[tuple[Run, Scored]] = []
    unknown: list[Entry] = []
    for run in with_progress(runs, total=len(runs), what="runs read"):
        try:
            known.append((run, kept(run.folder)))
        except (OSError, UserError) as error:
            stated = main_scores(run.metrics["scores"]) if run.metrics.get("scores") else {}
            scores = {n: math.nan if s is None else s for n, s in stated.items()}  # JSON has no NaN
            unknown.append(Entry(run=run, scores=scores, why_not=str(error)))
    known.sort(key=lambda pair: pair[0] is not against)  # the others stay in their order
    if against is not None and (not known or known[0][0] is not against):
        reason = next(entry.why_not for entry in unknown if entry.run is against)
        raise UserError(f"nothing can be compared with {against.name}: {reason}")
    groups = [_group(members, first=known[0], resamples=resamples) for members in _by_truth(known)]
    if unknown:
        groups.append(Group(entries=unknown))
    return groups


def check_task(runs: Sequence[Run]) -> None:
    """Raise UserError if runs are of different tasks."""
    first = runs[0]
    others = [run for run in runs if run.task != first.task]
    if others:
        raise UserError(
            f"{first.name} is a run of {first.task}, and {listed([run.name for run in others])} of "
            f"{others[0].task}; their scores cannot be compared. Give runs of one task."
        )


def _by_truth(known: Sequence[tuple[Run, Scored]]) -> list[list[tuple[Run, Scored]]]:
    groups: list[list[tuple[Run, Scored]]] = []
    for run, scored in known:
        same = (g for g in groups if not other_truth(g[0][1], scored, names=("", "")))
        group = next(same, None)
        if group is None:
            groups.append([(run, scored)])
        else:
            group.append((run, scored))
    return groups


def _group(
    members: Sequence[tuple[Run, Scored]], *, first: tuple[Run, Scored], resamples: int
) -> Group:
    reference, answers = members[0]
    weights = draw(answers.score.units, resamples=resamples)
    entries = []
    for run, scored in with_progress(members, total=len(members), what="runs resampled"):
        found = intervals(scored.score, weights)
        entries.append(
            Entry(
                run=run,
                scores={name: one.score for name, one in found.items()},
                heading=scored.heading,
                intervals=found,
                compared=None
                if run is reference
                else compare(answers, scored, resamples=resamples),
            )
        )
    p_values = [one.difference.p if one.difference else math.nan for one in entries]
    entries = [replace(one, p=p) for one, p in zip(entries, adjusted(p_values), strict=True)]
    names = first[0].name, reference.name
    return Group(
        entries=entries,
        reference=entries[0],
        of_what=answers.of_what,
        noun=answers.noun,
        apart="" if reference is first[0] else other_truth(first[1], answers, names=names),
    )


def verdict(entry: Entry, group: Group) -> str:
    """Return what can be said of a run beside the one that it is compared with, in words."""
    if entry.difference is None:
        if entry is group.reference:
            return "the others are compared with it" if len(group.entries) > 1 else "alone"
        return "no interval: its results by image are not kept"
    return entry.difference.verdict(p=entry.p)
