"""The page about several runs, as blocks."""

import math
from collections.abc import Mapping, Sequence

from tasks.common.compare.comparison import Entry, Group, verdict
from tasks.common.compare.differences import differences
from tasks.common.compare.runs import curve, parameters
from tasks.common.compare.table import COLUMNS, group_notes, group_rows, group_title
from tasks.common.report.page.blocks import (
    Bars,
    Block,
    Cell,
    Line,
    LineChart,
    Page,
    Point,
    Scatter,
    Section,
    Table,
    Text,
)
from tasks.common.statistics.interval import LEVEL
from tasks.common.statistics.paired import Comparison
from tasks.common.statistics.resampling import RESAMPLES, SEED

_METHOD = (
    f"Intervals are {LEVEL:.0%} bootstrap intervals: {RESAMPLES} times, as many images (cases, "
    f"patients) as the test set has are drawn with replacement, with the seed {SEED}, and scored. "
    "They say how the score would vary with other test images, not with another seed of the "
    "training.",
    "A difference is taken on the same drawn images for both runs. p is that of a permutation test "
    "that swaps both runs' results image by image; with several runs it counts their tests "
    "(Holm). A run is called better or worse if p is below 5 % and the interval of the "
    "difference does not hold 0; else no difference is detectable. That is no proof that there is "
    "none: the interval says how large it may be. Intervals by class count each class alone.",
)


def comparison_page(groups: Sequence[Group]) -> Page:
    """Return the page about runs that are grouped by test set."""
    entries = [entry for group in groups for entry in group.entries]
    runs = [entry.run for entry in entries]
    sections = [
        *(_scores(group) for group in groups),
        _differing(entries),
        _costs(groups),
        _curves(entries),
        Section(title="How this was computed", blocks=[Text(paragraphs=_METHOD)]),
    ]
    return Page(
        title=f"{len(runs)} runs of {runs[0].task}",
        subtitle=", ".join(run.name for run in runs),
        sections=[section for section in sections if section.blocks],
    )


def _scores(group: Group) -> Section:
    rows: list[list[Cell]] = []
    for entry, row in zip(group.entries, group_rows(group).values(), strict=True):
        cells = [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row]
        rows.append([entry.run.name, *cells, verdict(entry, group)])
    notes = ". ".join(group_notes(group))
    table = Table(
        title=group_title(group), headings=["run", *COLUMNS, "verdict"], rows=rows, note=notes
    )
    title = f"Scores on {group.of_what}" if group.of_what else "Scores without intervals"
    return Section(title=title, blocks=[table, *_bars(group), *_by_class(group)])


def _bars(group: Group) -> list[Block]:
    known = [entry for entry in group.entries if math.isfinite(entry.main)]
    if not known:
        return []
    heading = known[0].heading or "score"
    shown = {e.run.name: e.interval for e in known if e.interval and e.interval.known}
    values = {entry.run.name: entry.main for entry in known}
    return [
        Bars(
            title=f"{heading} by run",
            x_label=heading,
            values=values,
            low={name: one.low for name, one in shown.items()},
            high={name: one.high for name, one in shown.items()},
            alt=f"{heading} of each run: "
            + ", ".join(f"{name} {value:.3f}" for name, value in values.items()),
        )
    ]


def _by_class(group: Group) -> list[Block]:
    """Return the other scores, such as those of the classes, and how they differ."""
    if group.reference is None or group.reference.intervals is None:
        return []
    blocks: list[Block] = []
    names = list(group.reference.scores)[1:]
    scores = [
        [name, *(str(entry.intervals[name]) for entry in group.entries if entry.intervals)]
        for name in names
    ]
    headings = ["score", *(entry.run.name for entry in group.entries)]
    title = f"Other scores, with {LEVEL:.0%} intervals"
    blocks.append(Table(title=title, headings=headings, rows=scores))
    others = [entry for entry in group.entries if entry.compared]
    if others:
        rows = [[name, *(_change(entry.compared, name) for entry in others)] for name in names]
        headings = ["score", *(entry.run.name for entry in others)]
        title = f"Differences from {group.reference.run.name}"
        blocks.append(Table(title=title, headings=headings, rows=rows))
    return blocks


def _change(compared: Mapping[str, Comparison] | None, name: str) -> str:
    return str(compared[name].difference) if compared else "-"


def _differing(entries: Sequence[Entry]) -> Section:
    runs = [entry.run for entry in entries]
    found = differences(runs)
    text = "Options, versions and machines that are not the same in all runs."
    if len(runs) < 2:
        return Section(title="What differs", blocks=[])
    if not found:
        same = Text(paragraphs=["The configurations are the same."])
        return Section(title="What differs", blocks=[same])
    rows = [[name, *values] for name, values in found.items()]
    headings = ["option", *(run.name for run in runs)]
    table = Table(title="Configurations", headings=headings, rows=rows)
    return Section(title="What differs", blocks=[table], intro=text)


def _costs(groups: Sequence[Group]) -> Section:
    entries = [entry for group in groups for entry in group.entries]
    sizes = {entry.run.name: parameters(entry.run) for entry in entries}
    millions = {name: size / 1e6 for name, size in sizes.items() if size}
    minutes = {e.run.name: e.run.seconds / 60 for e in entries if math.isfinite(e.run.seconds)}
    blocks: list[Block] = []
    for group in groups:
        for label, costs in (("million parameters", millions), ("minutes of the run", minutes)):
            blocks += _scatter(group, label, costs)
    return Section(title="Score against size and time", blocks=blocks)


def _scatter(group: Group, label: str, costs: Mapping[str, float]) -> list[Block]:
    known = [e for e in group.entries if e.run.name in costs and math.isfinite(e.main)]
    if len(known) < 2:
        return []
    heading = known[0].heading or "score"
    points = []
    for entry in known:
        ends = entry.interval if entry.interval and entry.interval.known else None
        points.append(
            Point(
                name=entry.run.name,
                x=costs[entry.run.name],
                y=entry.main,
                low=ends.low if ends else None,
                high=ends.high if ends else None,
            )
        )
    alt = f"{heading} against {label}: " + ", ".join(
        f"{point.name} {point.y:.3f} at {point.x:.3g}" for point in points
    )
    return [
        Scatter(
            title=f"{heading} against {label}",
            x_label=label,
            y_label=heading,
            points=points,
            alt=alt,
        )
    ]


def _curves(entries: Sequence[Entry]) -> Section:
    main = next((next(iter(entry.scores)) for entry in entries if entry.scores), "")
    blocks: list[Block] = []
    for column, label in ((f"val/{main}", f"{main} of validation"), ("train/loss", "loss")):
        lines = []
        for entry in entries:
            epochs, values = _by_epoch(*curve(entry.run, column))
            if epochs:
                lines.append(Line(name=entry.run.name, x=epochs, y=values))
        if lines:
            last = ", ".join(f"{line.name} ends at {line.y[-1]:.3f}" for line in lines)
            blocks.append(
                LineChart(
                    title=label,
                    x_label="epoch",
                    y_label=label,
                    lines=lines,
                    alt=f"{label} by epoch: {last}",
                )
            )
    return Section(title="Curves", blocks=blocks)


def _by_epoch(epochs: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the mean value of each epoch."""
    of_each: dict[float, list[float]] = {}
    for epoch, value in zip(epochs, values, strict=True):
        of_each.setdefault(epoch, []).append(value)
    return list(of_each), [sum(all_of) / len(all_of) for all_of in of_each.values()]
