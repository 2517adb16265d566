"""Dice of a test set of which some cases count twice and some not at all, for resampling."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backbones.errors import UserError
from tasks.common.files.paths import existing_file
from tasks.common.statistics.paired import Scored
from tasks.common.statistics.score import MeanScore


def scored(
    cases: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    patients: Mapping[str, str] | None = None,
) -> Scored:
    """Return the scores of cases, as `case_scores` returns them, as answers to a test set.

    The main number is the mean over classes of the mean Dice over cases. With ``patients``, by the
    case's name, a patient is one unit with all cases.
    """
    names = sorted(cases)
    classes = list(cases[names[0]])
    dice = [[float(cases[name][of_class]["dice"]) for of_class in classes] for name in names]
    return Scored(
        score=MeanScore(
            np.array(dice).reshape(len(names), len(classes)),
            name="dice",
            classes=classes,
            clusters=[patients[name] for name in names] if patients else None,
        ),
        heading="Dice",
        noun="patient" if patients else "case",
        truth={name: _text(cases[name], (patients or {}).get(name)) for name in names},
    )


def _text(case: Mapping[str, Mapping[str, Any]], patient: str | None) -> str:
    """Return the pixels of each class in the truth as a text."""
    pixels = {of_class: int(row["truth_pixels"]) for of_class, row in case.items()}
    return json.dumps([patient, pixels])


def read_scored(run: Path) -> Scored:
    """Return what a run's folder keeps of its test, ``cases.csv``, with its patients if it has."""
    path = existing_file(run / "cases.csv", what="table of scores by case")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if missing := {"case", "class", "dice", "truth_pixels"} - set(rows[0] if rows else ()):
        raise UserError(
            f"{path} lacks the columns {', '.join(sorted(missing))}; it is no table of scores by "
            "case that a run of Keel wrote."
        )
    cases: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for row in rows:
        known = {"dice": float(row["dice"] or "nan"), "truth_pixels": float(row["truth_pixels"])}
        cases[row["case"]][row["class"]] = known
    patients = {row["case"]: row.get("patient", "") for row in rows}
    return scored(cases, patients=patients if all(patients.values()) else None)
