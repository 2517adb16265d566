"""From the ``data`` group of the configuration to checked splits."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from math import prod
from typing import Self

import numpy as np
from omegaconf import DictConfig

from tasks.common.data import splits
from tasks.common.data.splits import read_data
from tasks.common.files.paths import listed
from tasks.common.images.orientation import DONE
from tasks.segmentation.data.case_properties import CaseFacts, image_notes, mask_notes
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.check import check_cases, findings, shared_channels
from tasks.segmentation.data.splits import split_cases
from tasks.segmentation.options import DataOptions


@dataclass(frozen=True, kw_only=True)
class CheckedCases:
    """A split, and the facts about each of its cases, in the same order."""

    cases: CaseSet
    facts: tuple[CaseFacts, ...]

    @classmethod
    def of(cls, cases: CaseSet, known: Mapping[str, CaseFacts]) -> Self:
        """Return a split with the facts about its cases, which are ``known`` by their names."""
        return cls(cases=cases, facts=tuple(known[case.name] for case in cases.cases))

    def sizes(self) -> list[int]:
        """Return the bytes of each case's image and labels as arrays."""
        classes = self.cases.classes
        layers = 1 if classes.exclusive else len(classes.names)
        return [
            prod(case.shape) * (case.channels * np.dtype(case.dtype).itemsize + layers)
            for case in self.facts
        ]

    def dtypes(self) -> tuple[str, ...]:
        """Return the types of the images' numbers, by NumPy's names, each once and in order."""
        return tuple(sorted({case.dtype for case in self.facts}))


class Splits(splits.Splits[CheckedCases]):
    """A segmentation data set in its parts."""

    def digests(self) -> dict[str, str]:
        """Return a digest of the names of each split's cases: what a resumed run must find."""
        upright = ["turned by EXIF"] if self.train.cases.exif == "apply" else []
        names = {k: [c.name for c in part.cases.cases] for k, part in self.by_name().items()}
        texts = {k: "\n".join(n + upright).encode() for k, n in names.items()}
        return {k: sha256(text).hexdigest()[:16] for k, text in texts.items()}

    def decoded_size(self) -> int:
        """Return the bytes of what each epoch reads as arrays: images and labels without test."""
        return sum(self.train.sizes()) + sum(self.val.sizes())


def read_splits(node: DictConfig, *, policy: str) -> tuple[Splits, DataOptions]:
    """Return the data set that the ``data`` group names, checked, and how it was split."""
    options, source = read_data(node, DataOptions, lists=("val", "test"))
    case_set: CaseSet = replace(source, exif=options.exif)
    started = time.monotonic()
    facts = check_cases(case_set, policy=policy)
    axes = Counter(case.axis for case in facts if case.axis is not None)
    if axes and case_set.axis == -1:  # from here on all are cut along the axis of most
        case_set = replace(case_set, axis=axes.most_common(1)[0][0])
        facts = check_cases(case_set, policy=policy) if len(axes) > 1 else facts
    case_set = replace(case_set, channels=shared_channels(facts))
    read = f"{len(facts)} cases decoded in {time.monotonic() - started:.1f} s"
    known = {case.name: case for case in facts}
    kept = tuple(case for case in case_set.cases if case.name in known)
    train, val, test = split_cases(replace(case_set, cases=kept), options)
    found = Splits(
        train=CheckedCases.of(train, known),
        val=CheckedCases.of(val, known),
        test=None if test is None else CheckedCases.of(test, known),
        images=read,
    )
    notes = findings({k: part.facts for k, part in found.by_name().items()}, case_set.classes)
    if count := sum(case.turned for case in facts):
        turned = f"{count} files are rotated by their EXIF orientation; {DONE[options.exif]}"
        notes = [turned, *notes]
    notes = image_notes(facts) + mask_notes(facts) + notes
    if len(axes) > 1:
        counts = ", ".join(f"{count} along axis {axis}" for axis, count in axes.most_common())
        notes = [f"largest spacings differ ({counts}): all are cut along {case_set.axis}", *notes]
    if len(kept) < len(case_set.cases):
        skipped = [case.name for case in case_set.cases if case.name not in known]
        notes = [f"{len(skipped)} cases were skipped: {listed(skipped)}", *notes]
    return replace(found, warnings=(*case_set.notes, *notes)), options
