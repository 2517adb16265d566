"""A look at every case before a run: what cannot be used, and what should be known."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tasks.segmentation.cases import IGNORE, Case, CaseSet, ClassTable, Image, Labels
from tasks.segmentation.readers import check_same_grid, read_image, read_mask

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """What was seen of a case.

    Attributes:
        name: Of the case.
        shape: (D, H, W).
        channels: Of the image.
        dtype: Of its numbers, as numpy calls it.
        spacing: Between slices, rows and columns.
        unit: Of the spacing.
        flat: Whether it is a flat image.
        class_pixels: Of each class.
        digest: Equal for equal images.
    """

    name: str
    shape: tuple[int, int, int]
    channels: int
    dtype: str
    spacing: tuple[float, float, float]
    unit: str
    flat: bool
    class_pixels: tuple[int, ...]
    digest: str


def look(case_set: CaseSet, *, policy: str) -> list[CaseFacts]:
    """Return the facts about each case, after reading its image and its mask once.

    Args:
        case_set: With masks.
        policy: What to do about cases that cannot be used: ``error`` raises, ``skip`` leaves them
            out, but never all.

    Raises:
        ValueError: With the first five faults and the number of all: a file that is missing or
            damaged, image and mask of different sizes or places, a mask value of no class, NaN or
            infinity in an image, other channels than the first case has, volumes among flat images.
    """
    if policy not in ("error", "skip"):
        raise ValueError(f"on_bad_image takes error or skip, got {policy!r}.")
    found: list[CaseFacts] = []
    faults: list[str] = []
    for case in case_set.cases:
        try:
            facts = _facts(case, case_set)
            _check_like(facts, found[0] if found else facts)
            found.append(facts)
        except (OSError, ValueError) as error:
            faults.append(f"{case.name}: {error}")
    if faults and (policy == "error" or not found):
        rest = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
        raise ValueError(
            f"{case_set.source}: {len(faults)} of {len(case_set.cases)} cases cannot be used:"
            f"{shown}{rest}\nRepair or remove them; on_bad_image=skip leaves out some, never all."
        )
    return found


def findings(
    train: Sequence[CaseFacts],
    val: Sequence[CaseFacts],
    test: Sequence[CaseFacts],
    classes: ClassTable,
) -> list[str]:
    """Return what a user should know of the splits, a sentence each.

    Args:
        train: Facts about its cases.
        val: Facts about its cases.
        test: Facts about its cases; may be empty.
        classes: Of all of them.

    Raises:
        ValueError: If a class has no pixel in train, or no scored class has any in val.
    """
    sides = {"train": train, "val": val, "test": test}
    counts = {
        side: np.sum([facts.class_pixels for facts in cases], axis=0)
        for side, cases in sides.items()
        if cases
    }
    unseen = [name for name, n in zip(classes.names, counts["train"], strict=True) if n == 0]
    if unseen:
        raise ValueError(
            f"train has no pixel of {', '.join(unseen)}: what is never shown is not learnt. Take "
            "it out of data.classes, or split the cases in another way (data.seed)."
        )
    if not counts["val"][list(classes.scored)].any():
        raise ValueError(
            "val has no pixel of any scored class, so no checkpoint can be chosen; split the "
            "cases in another way (data.seed, data.val)."
        )
    said = [
        f"{side} has no pixel of {classes.names[index]}"
        for side in counts
        for index in classes.scored
        if counts[side][index] == 0
    ]
    return said + _doubles(sides)


def _doubles(sides: dict[str, Sequence[CaseFacts]]) -> list[str]:
    """Return a sentence per image that is in two splits, and one for those twice in a split."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for side, cases in sides.items():
        for facts in cases:
            places[facts.digest].append((side, facts.name))
    said, within = [], 0
    for same in places.values():
        within += len(same) - len({side for side, _ in same})
        for (side, name), (other_side, other) in pairwise(same):
            if side != other_side:
                said.append(f"{name} in {side} and {other} in {other_side} are the same image")
    return [*said, *([f"{within} images are twice in one split"] if within else [])]


def _facts(case: Case, case_set: CaseSet) -> CaseFacts:
    image, geometry = read_image(case.images, axis=case_set.axis)
    labels, _ = read_mask(case.masks, case_set.classes, axis=case_set.axis)
    check_same_grid(case.images[0], case.masks[0], sizes=(image.shape[1:], labels.shape[-3:]))
    wrong = image.size - int(np.isfinite(image).sum())
    if wrong:
        raise ValueError(
            f"{case.images[0]} has {wrong} numbers that are NaN or infinite; expected finite ones."
        )
    depth, height, width = image.shape[1:]
    return CaseFacts(
        name=case.name,
        shape=(depth, height, width),
        channels=len(image),
        dtype=str(image.dtype),
        spacing=geometry.spacing,
        unit=geometry.unit,
        flat=geometry.unit == "px" and depth == 1,
        class_pixels=_class_pixels(labels, case_set.classes),
        digest=_digest(image),
    )


def _check_like(facts: CaseFacts, first: CaseFacts) -> None:
    """Raise unless a case has the channels of the first, and is flat if that is."""
    if facts.channels != first.channels:
        raise ValueError(
            f"the image has {facts.channels} channels, that of {first.name} has {first.channels}; "
            "expected the same of all. Convert one kind to the other."
        )
    if facts.unit != first.unit:
        raise ValueError(
            f"spacing is in {facts.unit}, that of {first.name} in {first.unit}; expected flat "
            "images or volumes only, since distances would not compare."
        )


def _class_pixels(labels: Labels, classes: ClassTable) -> tuple[int, ...]:
    if classes.exclusive:
        counts = np.bincount(labels.reshape(-1), minlength=IGNORE + 1)[: len(classes.names)]
    else:
        counts = (labels == 1).sum(axis=(1, 2, 3))
    return tuple(int(count) for count in counts)


def _digest(image: Image) -> str:
    shape = str((image.shape, image.dtype)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest()
