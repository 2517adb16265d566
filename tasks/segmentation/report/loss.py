"""What a class lacks to a Dice of 1, in four parts that add up, and the sentences that say so.

Of a case with t true and p predicted pixels, h of them the same, Dice is 2h / (t + p). So it lacks
(t - h) / (t + p) for true pixels that were not found, and (p - h) / (t + p) for those found beyond
the truth. Where a side is empty it lacks 1: the structure is missed, or a false alarm. A class
lacks the mean over the cases that have it on either side, as its Dice is their mean.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tasks.segmentation.scores.metrics import Scores, mean_known

AT_BOUNDARY: Final = 0.9  # of NSD, from which on outlines lie where they should
_SEEN: Final = 0.0005  # what three digits show


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """How much of Dice a class lacks for each reason; all NaN if no case has it."""

    missed: float  # wholly, in cases that have it
    false_alarms: float  # in cases that do not have it
    too_little: float  # true pixels that were not found, where both sides have some
    too_much: float  # pixels found beyond the truth, where both sides have some
    nsd: float  # mean of the cases that have it on both sides; NaN if not measured

    @property
    def total(self) -> float:
        """1 minus the mean Dice."""
        return self.missed + self.false_alarms + self.too_little + self.too_much


def class_loss(cases: Mapping[str, Scores], name: str) -> ClassLoss:
    """Return what a class lacks; ``cases`` are as of `case_scores`."""
    parts: list[tuple[float, float, float, float]] = []
    nsd: list[float] = []
    for row in (case[name] for case in cases.values()):
        there, found = row["truth_pixels"], row["predicted_pixels"]
        if there and found:
            hits = row["dice"] * (there + found) / 2
            both = there + found
            parts.append((0.0, 0.0, (there - hits) / both, (found - hits) / both))
            nsd.append(row.get("nsd", math.nan))
        elif there or found:
            parts.append((float(there > 0), float(found > 0), 0.0, 0.0))
    means = [math.fsum(part) / len(part) for part in zip(*parts, strict=True)] or [math.nan] * 4
    missed, false_alarms, too_little, too_much = means
    return ClassLoss(
        missed=missed,
        false_alarms=false_alarms,
        too_little=too_little,
        too_much=too_much,
        nsd=mean_known(nsd),
    )


def why_worst(
    cases: Mapping[str, Scores], summary: Scores, *, tolerance: float, unit: str
) -> list[str]:
    """Return sentences on which class is worst, and on what most of its loss is.

    ``summary`` is as of `summarise`, ``tolerance`` that of NSD, in ``unit``.
    """
    dice = {name: row["dice"] for name, row in summary.items() if name != "mean"}
    known = {name: value for name, value in dice.items() if not math.isnan(value)}
    if not known:
        return ["No case has a class in the truth or in the prediction, so there is no Dice."]
    worst = min(known, key=lambda name: known[name])
    others = [value for name, value in known.items() if name != worst]
    lead = f"{worst!r} has the lowest Dice, {known[worst]:.3f}"
    if others:
        lead += f"; the mean of the others is {math.fsum(others) / len(others):.3f}."
    elif len(dice) == 1:
        lead = f"There is one class, {worst!r}, with Dice {known[worst]:.3f}."
    else:
        lead += "; no case has another class."
    loss = class_loss(cases, worst)
    if loss.total < _SEEN:
        return [f"{lead} That is as good as it can be."]
    return [lead, _reason(loss, summary[worst]), *_boundary(loss, tolerance, unit)]


def _reason(loss: ClassLoss, row: Mapping[str, float]) -> str:
    texts = {
        "missed": f"it is missed wholly in {row['missed']} of {row['n_truth']} cases that have it",
        "false_alarms": f"it is found in {row['false_alarms']} cases that do not have it",
        "too_little": f"parts of it are not found (recall {row['recall']:.3f})",
        "too_much": f"more is found than there is (precision {row['precision']:.3f})",
    }
    shares = {name: getattr(loss, name) for name in texts}
    seen = [name for name in shares if shares[name] >= _SEEN]
    ordered = sorted(seen, key=lambda name: -shares[name])
    parts = [f"{shares[name]:.3f} because {texts[name]}" for name in ordered]
    return f"Why: Dice lacks {loss.total:.3f} to 1: {'; '.join(parts)}."


def _boundary(loss: ClassLoss, tolerance: float, unit: str) -> list[str]:
    """Return whether errors lie along the outlines or are whole parts, if it was measured."""
    if math.isnan(loss.nsd):
        return []
    near = f"{loss.nsd:.0%} of the outlines lie within {tolerance:g} {unit} of each other"
    if loss.nsd >= AT_BOUNDARY:
        return [f"Where it is found, {near} (NSD): what is wrong lies along the boundary."]
    return [f"Where it is found, {near} (NSD): whole parts are wrong, not the boundary alone."]
