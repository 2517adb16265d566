"""Split cases into those to learn from, to choose with and to test on; patients stay whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from backbones.errors import UserError
from tasks.common.data.splits import SIDES, group_of, refuse_leaks
from tasks.common.files.paths import hint, listed
from tasks.segmentation.data.cases import Case, CaseSet
from tasks.segmentation.options import DataOptions


def split_cases(case_set: CaseSet, options: DataOptions) -> tuple[CaseSet, CaseSet, CaseSet | None]:
    """Return train, val and test (None if it is empty), each in the order of the cases' names.

    The patterns of ``options`` decide; without any, what the cases say themselves (`Case.split`);
    without that, patients are drawn: sorted, shuffled by the seed alone and cut where the numbers
    of cases come nearest to the fractions. In cross-validation each patient, the largest first,
    goes to the fold with the fewest cases. The order of cases does not matter. What does not fit,
    such as a patient in two splits or an empty train or val, is refused.
    """
    cases = sorted(case_set.cases, key=lambda case: case.name)
    patients = sorted({case.patient for case in cases})
    shuffled = np.random.default_rng(options.seed).permutation(len(patients))
    order = [patients[index] for index in shuffled]
    pairs = list(zip(cases, _sides(cases, order, options), strict=True))
    members = [(case.name, case.patient, side) for case, side in pairs]
    refuse_leaks(members, option="patient", what="case")
    train, val, test = ([case for case, its in pairs if its == side] for side in SIDES)
    if not train or not val:
        raise UserError(
            f"the split of {case_set.source} leaves {len(train)} cases for train and {len(val)} "
            "for val; expected at least one each. Change data.val and data.test, or what the "
            "data set says."
        )
    train = _limited(train, order, options.limit)
    return (
        replace(case_set, cases=tuple(train)),
        replace(case_set, cases=tuple(val)),
        replace(case_set, cases=tuple(test)) if test else None,
    )


def patient_of(name: str, pattern: str | None) -> str:
    r"""Return whose case it is: what the one group of a pattern finds, or the name without one.

    >>> patient_of("site_a/p07_2", r"(p\d+)_\d")
    'p07'
    """
    return group_of(name, pattern, option="patient", what="case")


def _sides(cases: Sequence[Case], order: Sequence[str], options: DataOptions) -> list[str]:
    if options.val or options.test:
        return _named(cases, options)
    if any(case.split for case in cases):
        return _own(cases, options)
    sizes = Counter(case.patient for case in cases)
    if options.fold is None:
        shares = [share for share in options.fractions if share > 0]
        parts = _cut(order, sizes, shares)
    else:
        folds = _folds(order, sizes, options.folds)
        # The last of these is the next fold, so that val is another one for each test.
        rest = [p for k in range(1, options.folds) for p in folds[options.fold - k]]
        parts = [*_cut(rest, sizes, options.fractions[:2]), folds[options.fold]]
    side = {p: SIDES[index] for index, part in enumerate(parts) for p in part}
    return [side[case.patient] for case in cases]


def _named(cases: Sequence[Case], options: DataOptions) -> list[str]:
    sides = dict.fromkeys((case.name for case in cases), "train")
    for side, patterns in (("val", options.val), ("test", options.test)):
        for pattern in patterns:
            if not (names := [name for name in sides if fnmatchcase(name, pattern)]):
                raise UserError(
                    f"data.{side} has the pattern {pattern!r}, which matches none of the "
                    f"{len(sides)} cases{hint(pattern, list(sides))}; there are "
                    f"{listed(list(sides))}."
                )
            if twice := [name for name in names if sides[name] not in ("train", side)]:
                raise UserError(f"data.val and data.test both match {listed(twice)}.")
            sides.update(dict.fromkeys(names, side))
    return list(sides.values())


def _own(cases: Sequence[Case], options: DataOptions) -> list[str]:
    if options.fold is not None:
        raise UserError(
            f"data.fold={options.fold} draws a split, but the data set has its own. Remove "
            "either: a data.fold of null keeps the data set's."
        )
    if wrong := [case.name for case in cases if case.split not in SIDES]:
        raise UserError(
            f"{len(wrong)} of {len(cases)} cases do not say whether they are train, val or test: "
            f"{listed(wrong)}; expected all to say so, or none."
        )
    return [str(case.split) for case in cases]


def _cut(
    patients: Sequence[str], sizes: Mapping[str, int], shares: Sequence[float]
) -> list[list[str]]:
    """Return the patients in parts, none empty, whose cases come nearest to the shares."""
    if len(patients) < len(shares):
        raise UserError(
            f"{len(patients)} patients cannot be split into {', '.join(SIDES[: len(shares)])}; "
            f"expected at least {len(shares)}. Add patients, or see whether data.patient tells "
            "them apart."
        )
    ends = np.cumsum([sizes[patient] for patient in patients])
    cuts = [0]
    for index in range(1, len(shares)):
        target = ends[-1] * sum(shares[:index]) / sum(shares)
        low, high = cuts[-1] + 1, len(patients) - len(shares) + index
        cuts.append(low + int(np.abs(ends[low - 1 : high] - target).argmin()))
    cuts.append(len(patients))
    return [list(patients[a:b]) for a, b in pairwise(cuts)]


def _folds(order: Sequence[str], sizes: Mapping[str, int], number: int) -> list[list[str]]:
    """Return as many groups of patients, with numbers of cases as equal as possible."""
    if len(order) < number:
        raise UserError(
            f"data.folds is {number}, but there are {len(order)} patients; expected at least "
            f"{number}. Use fewer folds."
        )
    cases = [0] * number
    home = {}
    for patient in sorted(order, key=lambda p: -sizes[p]):
        home[patient] = cases.index(min(cases))
        cases[home[patient]] += sizes[patient]
    return [[p for p in order if home[p] == fold] for fold in range(number)]


def _limited(train: Sequence[Case], order: Sequence[str], limit: int) -> list[Case]:
    """Return the first training cases in the patients' order, by name."""
    if limit > len(train):
        raise UserError(f"data.limit is {limit}, but there are {len(train)} training cases.")
    place = {patient: index for index, patient in enumerate(order)}
    drawn = sorted(train, key=lambda case: (place[case.patient], case.name))
    return sorted(drawn[: limit or None], key=lambda case: case.name)
