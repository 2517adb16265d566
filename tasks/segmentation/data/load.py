"""From the ``data`` group of the configuration to splits that were looked at, case by case."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tasks.common.files.paths import listed
from tasks.common.images.orientation import DONE
from tasks.common.resume.card import with_tuples
from tasks.segmentation.data.case_facts import CaseFacts, image_notes, mask_notes
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.check import check_cases, findings, shared_channels
from tasks.segmentation.data.splits import split_cases
from tasks.segmentation.options import DataOptions


@dataclass(frozen=True, kw_only=True)
class Side:
    """A split, and the facts about each of its cases, in the same order."""

    cases: CaseSet
    facts: tuple[CaseFacts, ...]

    def sizes(self) -> list[int]:
        """Return the bytes of each case's image and labels as arrays."""
        classes = self.cases.classes
        layers = 1 if classes.exclusive else len(classes.names)
        return [
            prod(case.shape) * (case.channels * np.dtype(case.dtype).itemsize + layers)
            for case in self.facts
        ]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set in its parts.

    Attributes:
        train: To learn from.
        val: To choose the checkpoint with.
        test: For the final figure; None if there is none.
        warnings: What a user should know of them, a sentence each.
        read: How many cases the check of them decoded, and how long that took.
    """

    train: Side
    val: Side
    test: Side | None
    warnings: tuple[str, ...]
    read: str = ""

    @property
    def tested(self) -> Side:
        """What the final figure is of: validation where there is no test split."""
        return self.test or self.val

    def digests(self) -> dict[str, str]:
        """Return a digest of the names of each split's cases: what a resumed run must find."""
        sides = {"train": self.train, "val": self.val, "test": self.test}
        names = {k: [c.name for c in side.cases.cases] for k, side in sides.items() if side}
        upright = ["turned by EXIF"] if self.train.cases.exif == "apply" else []
        return {
            k: sha256("\n".join(n + upright).encode()).hexdigest()[:16] for k, n in names.items()
        }

    def decoded_size(self) -> int:
        """Return the bytes of what each epoch reads as arrays: images and labels without test."""
        return sum(self.train.sizes()) + sum(self.val.sizes())


def read_splits(node: DictConfig, *, policy: str) -> tuple[Splits, DataOptions]:
    """Return the data set that the ``data`` group names, checked, and how it was split.

    Args:
        node: The group: `DataOptions`, and ``_target_`` with its arguments. An error of that
            function is the cause of Hydra's InstantiationException.
        policy: ``error`` or ``skip``; see `check_cases`.
    """
    names = {field.name for field in fields(DataOptions)}
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    chosen = {key: value for key, value in values.items() if key in names}
    options = DataOptions(**with_tuples(chosen | _patterns(chosen)))
    source = {key: value for key, value in values.items() if key not in names}
    case_set: CaseSet = replace(instantiate(source, _convert_="all"), exif=options.exif)
    started = time.monotonic()
    looked = check_cases(case_set, policy=policy)
    axes = Counter(facts.axis for facts in looked if facts.axis is not None)
    if axes and case_set.axis == -1:  # from here on all are cut along the axis of most
        case_set = replace(case_set, axis=axes.most_common(1)[0][0])
        looked = check_cases(case_set, policy=policy) if len(axes) > 1 else looked
    case_set = replace(case_set, channels=shared_channels(looked))
    read = f"{len(looked)} cases decoded in {time.monotonic() - started:.1f} s"
    known = {facts.name: facts for facts in looked}
    kept = tuple(case for case in case_set.cases if case.name in known)
    sides = split_cases(replace(case_set, cases=kept), options)
    train, val = _side(sides[0], known), _side(sides[1], known)
    test = None if sides[2] is None else _side(sides[2], known)
    parts = {"train": train, "val": val, "test": test}
    said = findings({k: side.facts for k, side in parts.items() if side}, case_set.classes)
    if count := sum(facts.turned for facts in looked):
        said = [f"{count} files are to be shown turned (EXIF); {DONE[options.exif]}", *said]
    said = image_notes(looked) + mask_notes(looked) + said
    if len(axes) > 1:
        counts = ", ".join(f"{count} along axis {axis}" for axis, count in axes.most_common())
        said = [f"largest spacings differ ({counts}): all are cut along {case_set.axis}", *said]
    if len(kept) < len(case_set.cases):
        skipped = [case.name for case in case_set.cases if case.name not in known]
        said = [f"{len(skipped)} cases were skipped: {listed(skipped)}", *said]
    warnings = (*case_set.notes, *said)
    return Splits(train=train, val=val, test=test, warnings=warnings, read=read), options


def _patterns(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the patterns of names as text: one alone is one, and a name may be a number."""
    given = {key: values[key] for key in ("val", "test") if key in values}
    return {
        key: [str(item) for item in (value if isinstance(value, list) else [value])]
        for key, value in given.items()
    }


def _side(cases: CaseSet, known: Mapping[str, CaseFacts]) -> Side:
    return Side(cases=cases, facts=tuple(known[case.name] for case in cases.cases))
