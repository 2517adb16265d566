"""What ``scripts/report.py`` prints of several runs: a table for each test set, and verdicts."""

from collections.abc import Sequence

from tasks.common.compare.comparison import Group, verdict
from tasks.common.report.terminal import print_line, print_scores
from tasks.common.statistics.interval import LEVEL, interval_note
from tasks.common.statistics.paired import p_text

COLUMNS = ("score", "interval", "difference", "its interval", "p")


def print_groups(groups: Sequence[Group]) -> None:
    """Print the table of each test set, and under it a verdict on each run."""
    for group in groups:
        print_scores(group_title(group), COLUMNS, group_rows(group))
        for note in group_notes(group):
            print_line(f"note: {note}")
        for entry in group.entries:
            print_line(f"{entry.run.name}: {verdict(entry, group)}")


def group_title(group: Group) -> str:
    """Return the line above a group's table."""
    if group.reference is None:
        return "Runs without results by image"
    first = group.reference
    what = f"{first.heading} on {first.run.scored_split}, {group.of_what}; {LEVEL:.0%} intervals"
    return what if len(group.entries) == 1 else f"{what}; differences from {first.run.name}"


def group_rows(group: Group) -> dict[str, list[float | str]]:
    """Return a row for each run, by its name: score, interval, difference, its interval, p."""
    rows: dict[str, list[float | str]] = {}
    for entry in group.entries:
        ends = entry.interval.ends if entry.interval else "-"
        if entry.difference is None:
            rows[entry.run.name] = [entry.main, ends, "-", "-", "-"]
        else:
            found = entry.difference.difference
            change, p = f"{found.score:+.3f}", p_text(entry.p)
            rows[entry.run.name] = [entry.main, ends, change, found.ends, p]
    return rows


def group_notes(group: Group) -> list[str]:
    """Return what a reader has to know of a group's numbers."""
    if group.reference is None:
        reasons = {entry.why_not for entry in group.entries}
        return [
            "these runs keep no results by image (older versions of Keel did not), so there are "
            "neither intervals nor tests, and whether the test set is the same is not known. "
            "scripts/evaluate.py CHECKPOINT TRUTH IMAGES --against OTHER compares two of them",
            *sorted(reasons),
        ]
    units = next(iter((group.reference.intervals or {}).values())).units
    notes = [f"another test set: {group.apart}"] if group.apart else []
    if few := interval_note(units, group.noun):
        notes.append(few)
    if len({entry.run.scored_split for entry in group.entries}) > 1 or (
        group.reference.run.scored_split == "val"
    ):
        notes.append(
            "scored on the validation split, which chose the checkpoints: the scores are too high"
        )
    return notes
