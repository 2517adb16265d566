"""Tables and box plots of a segmenter's results, as blocks of a page."""

import math
from collections.abc import Mapping
from statistics import median
from typing import Final

from tasks.common.report.page.blocks import BoxPlot, Cell, Table
from tasks.segmentation.report.loss import class_loss
from tasks.segmentation.scores.metrics import COUNTS, METRICS, Scores, headings
from tasks.segmentation.scores.worst import mean_dice

MOST_ROWS: Final = 200  # cases in a table
MOST_CLASSES: Final = 12  # in a table of cases, and in a box plot
_COUNTED: Final = ("n_truth", "missed", "false_alarms")


def class_table(cases: Mapping[str, Scores], summary: Scores, *, unit: str) -> Table:
    """Return a row for each class and their mean: all scores, and what Dice lacks to 1."""
    counts = [metric for metric in COUNTS if metric.name in _COUNTED]
    measured = [
        (metric.name, heading)
        for metric, heading in zip(METRICS, headings(unit), strict=True)
        if metric.name in summary["mean"]
    ]
    rows: list[list[Cell]] = []
    for name, row in summary.items():
        scores = [_cell(row[key]) for key, _ in measured]
        of_cases = [int(row[count.name]) for count in counts]
        rows.append([name, *scores, *of_cases, *_lacks(cases, name)])
    lacks = ("lacks: missed", "lacks: false alarms", "lacks: not found", "lacks: too much")
    return Table(
        title="Scores of each class",
        headings=["class", *(text for _, text in measured), *(c.heading for c in counts), *lacks],
        rows=rows,
        note=(
            "Means over the cases that have the class in the truth or in the prediction. "
            "What a class lacks adds up to 1 minus Dice: cases in which it is missed wholly, false "
            "alarms, true pixels that were not found, and pixels found beyond the truth."
        ),
    )


def _lacks(cases: Mapping[str, Scores], name: str) -> list[Cell]:
    if name == "mean":
        return [None] * 4
    loss = class_loss(cases, name)
    parts = (loss.missed, loss.false_alarms, loss.too_little, loss.too_much)
    return [_cell(part) for part in parts]


def case_table(
    cases: Mapping[str, Scores], summary: Scores, *, patients: Mapping[str, str] | None = None
) -> Table:
    """Return the Dice of each case and class, the lowest mean first; cases without one come last.

    At most 200 cases and the 12 classes of the lowest Dice are shown, and the note says so.
    """
    means = {name: mean_dice(scores) for name, scores in cases.items()}
    ordered = sorted(means, key=lambda name: (math.isnan(means[name]), means[name], name))
    classes = _worst_classes(summary)
    rows: list[list[Cell]] = []
    for name in ordered[:MOST_ROWS]:
        whose: list[Cell] = [] if patients is None else [patients[name]]
        dice = [_cell(cases[name][of_class]["dice"]) for of_class in classes]
        rows.append([name, *whose, _cell(means[name]), *dice])
    note = "A dash: neither in the truth nor in the prediction."
    if len(ordered) > MOST_ROWS:
        note += f" The {MOST_ROWS} worst of {len(ordered)} cases; cases.csv has all."
    if len(classes) < len(summary) - 1:
        note += f" The {len(classes)} worst of {len(summary) - 1} classes."
    about = ["case"] if patients is None else ["case", "patient"]
    return Table(
        title="Dice of each case, worst first",
        headings=[*about, "mean Dice", *classes],
        rows=rows,
        note=note,
    )


def dice_plot(cases: Mapping[str, Scores], summary: Scores) -> BoxPlot | None:
    """Return the Dice of all cases, by class; None if no case has any."""
    groups = {
        of_class: [
            (name, float(scores[of_class]["dice"]))
            for name, scores in cases.items()
            if not math.isnan(scores[of_class]["dice"])
        ]
        for of_class in _worst_classes(summary)
    }
    groups = {name: values for name, values in groups.items() if values}
    if not groups:
        return None
    medians = {name: median(value for _, value in values) for name, values in groups.items()}
    texts = ", ".join(f"{name} {value:.3f}" for name, value in medians.items())
    few = len(groups) < len(summary) - 1
    which = f", the {len(groups)} worst of {len(summary) - 1} classes" if few else ""
    return BoxPlot(
        title=f"Dice of the cases, by class{which}",
        y_label="Dice",
        groups=groups,
        alt=f"Box plots of Dice over the cases; medians: {texts}.",
    )


def _worst_classes(summary: Scores) -> list[str]:
    """Return the classes of the lowest Dice, as many as are shown, in their own order."""
    dice = {name: row["dice"] for name, row in summary.items() if name != "mean"}
    ordered = sorted(dice, key=lambda name: (math.isnan(dice[name]), dice[name]))
    kept = set(ordered[:MOST_CLASSES])
    return [name for name in dice if name in kept]


def _cell(value: float) -> float | None:
    return None if math.isnan(value) else value
