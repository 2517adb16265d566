"""Check every case before a run: which cannot be used, and what a user should know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from backbones.errors import UserError
from tasks.common.data.duplicates import Seen, duplicates, pixel_digest
from tasks.common.files.paths import listed
from tasks.common.images.orientation import UPRIGHT, RotatedError, exif_advice
from tasks.common.report.advice import advice
from tasks.common.report.terminal import with_progress
from tasks.segmentation.data.case_properties import CaseFacts, mask_facts
from tasks.segmentation.data.cases import IGNORE, Case, CaseSet, ClassTable, Labels
from tasks.segmentation.data.channels import common_channels, is_coloured
from tasks.segmentation.data.formats.files import check_same_grid, read_image
from tasks.segmentation.data.masks.palettes import compare_all_palettes
from tasks.segmentation.data.masks.read import is_copy, labels_of, read_mask_files

_SHOWN = 5


def check_cases(case_set: CaseSet, *, policy: str) -> list[CaseFacts]:
    """Return the facts about each case, after reading its image and its mask once.

    Cases that cannot be used raise with the first five faults, or with the policy ``skip`` are left
    out, but never all; rotated ones that ``exif`` refuses always raise.
    """
    if policy not in ("error", "skip"):
        raise UserError(f"on_bad_image takes error or skip, got {policy!r}.")
    read: list[CaseFacts] = []
    faults: list[str] = []
    rotated: list[str] = []
    what = f"cases of {case_set.source} read"
    for case in with_progress(case_set.cases, total=len(case_set.cases), what=what):
        try:
            read.append(_facts(case, case_set))
        except RotatedError as error:
            rotated.append(f"{error.path.name} ({error.orientation})")
        except (OSError, ValueError) as error:
            faults.append(f"{case.name}: {error}")
    if rotated:
        raise UserError(
            f"{case_set.source}: files of {len(rotated)} of {len(case_set.cases)} cases are "
            f"rotated by their EXIF orientation: {listed(rotated)}. {exif_advice()}"
        )
    compare_all_palettes([facts.palettes for facts in read], case_set.classes)
    found, odd = _alike(_fitted(read, case_set.channels))
    faults += odd
    if faults and (policy == "error" or not found):
        raise UserError(_all_faults(faults, case_set))
    return found


def _all_faults(faults: Sequence[str], case_set: CaseSet) -> str:
    rest = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
    return (
        f"{case_set.source}: {len(faults)} of {len(case_set.cases)} cases cannot be used:"
        f"{shown}{rest}\nRepair or remove them"
        f"{advice('; on_bad_image=skip leaves out some, never all')}."
    )


def findings(sides: Mapping[str, Sequence[CaseFacts]], classes: ClassTable) -> list[str]:
    """Return warnings of the splits; refuse a class missing in train, or a val without classes."""
    pixels = {side: [facts.class_pixels for facts in cases] for side, cases in sides.items()}
    counts = {side: np.sum(each, axis=0) for side, each in pixels.items()}
    unseen = {
        side: [classes.names[index] for index in classes.scored if count[index] == 0]
        for side, count in counts.items()
    }
    if unseen["train"]:
        raise UserError(
            f"train has no pixel of {', '.join(unseen['train'])}: what is never shown is not "
            f"learnt. Take it out of {classes.source}, or split the cases in another way "
            "(data.seed)."
        )
    if not counts["val"][list(classes.scored)].any():
        raise UserError(
            "val has no pixel of any scored class, so no checkpoint can be chosen; split the "
            "cases in another way (data.seed, data.val)."
        )
    notes = [f"{side} has no pixel of {name}" for side, names in unseen.items() for name in names]
    return notes + duplicates({side: _seen(cases) for side, cases in sides.items()}, labels="masks")


def _seen(cases: Sequence[CaseFacts]) -> list[Seen]:
    """Return the cases whose images are not blank, as blank ones all look the same."""
    return [
        Seen(name=facts.name, digest=facts.digest, label_digest=facts.mask_digest)
        for facts in cases
        if not facts.blank
    ]


def _facts(case: Case, case_set: CaseSet) -> CaseFacts:
    axis, exif = case_set.axis, case_set.exif
    image, geometry = read_image(case.images, axis=axis, exif=exif)
    masks = read_mask_files(case.masks, case_set.classes, axis=axis, exif=exif)
    for mask in masks:
        if mask.alpha_tells and is_copy(mask, image, case_set.classes):
            raise UserError(
                f"{mask.path} is the image itself, with an alpha channel: is the mask in the alpha "
                "channel, which is not read? Save that as gray, in a file without alpha."
            )
    labels = labels_of(masks, case_set.classes)
    check_same_grid(case.images[0], case.masks[0], sizes=(image.shape[1:], labels.shape[-3:]))
    if wrong := image.size - int(np.isfinite(image).sum()):
        raise UserError(
            f"{' + '.join(map(str, case.images))} has {wrong} numbers that are NaN or infinite; "
            "expected finite ones."
        )
    depth, height, width = image.shape[1:]
    coloured = is_coloured(image, case.images)
    return CaseFacts(
        **vars(mask_facts(case.name, masks)),
        shape=(depth, height, width),
        channels=len(image),
        dtype=str(image.dtype),
        spacing=geometry.spacing,
        unit=geometry.unit,
        flat=geometry.unit == "px" and depth == 1,
        class_pixels=_class_pixels(labels, case_set.classes),
        blank=bool(image.min() == image.max()),
        digest=pixel_digest(image[:1] if coloured is False else image),
        mask_digest=pixel_digest(labels),
        turned=sum(found.orientation != UPRIGHT for found in (geometry, masks[0].geometry)),
        coloured=coloured,
    )


def shared_channels(cases: Sequence[CaseFacts]) -> int | None:
    """Return the channels of gray and RGB images, None if the images are of another kind."""
    return None if any(facts.coloured is None for facts in cases) else cases[0].channels


def _fitted(read: Sequence[CaseFacts], channels: int | None) -> list[CaseFacts]:
    """Return the facts with the channels that gray and RGB images get."""
    common = channels or common_channels([(facts.coloured, facts.channels) for facts in read])
    if common is None:
        return list(read)
    return [
        replace(facts, channels=common, stored_channels=facts.channels)
        if facts.coloured is False and facts.channels != common
        else facts
        for facts in read
    ]


def _alike(read: list[CaseFacts]) -> tuple[list[CaseFacts], list[str]]:
    """Return the cases with the channels and the unit of most, and what is wrong with the rest."""
    if not read:
        return [], []
    ((channels, unit), most), *_ = Counter((f.channels, f.unit) for f in read).most_common()
    found = [facts for facts in read if (facts.channels, facts.unit) == (channels, unit)]
    odd = [
        f"{facts.name}: the image has {facts.channels} channels and its spacing is in "
        f"{facts.unit}; {most} of {len(read)} cases, such as {found[0].name}, have {channels} "
        f"channels and {unit}. Convert it, or take it out."
        for facts in read
        if facts not in found
    ]
    return found, odd


def _class_pixels(labels: Labels, classes: ClassTable) -> tuple[int, ...]:
    if classes.exclusive:
        counts = np.bincount(labels.reshape(-1), minlength=IGNORE + 1)[: len(classes.names)]
    else:
        counts = (labels == 1).sum(axis=(1, 2, 3))
    return tuple(int(count) for count in counts)
