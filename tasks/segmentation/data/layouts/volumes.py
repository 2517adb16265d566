"""Cases from a folder of volumes and a folder of their masks."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backbones.errors import UserError
from tasks.common.files.paths import listed
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.formats.files import VOLUME_SUFFIXES, is_volume
from tasks.segmentation.data.layouts.folder import folder_cases


def volume_cases(
    *,
    root: str | Path,
    images: str = "images",
    masks: str = "masks",
    classes: Mapping[Any, Any] | None = None,
    threshold: float | None = None,
    mask_suffix: str | None = None,
    patient: str | None = None,
    axis: int = -1,
) -> CaseSet:
    """Return the cases of a folder with volumes and a folder with masks of the same names.

    A file that is no volume is refused.

    Args:
        root: As of `folder_cases`, as are the others but ``axis``.
        images: Folder of the volumes.
        masks: Folder of their masks.
        classes: What mask values stand for; None for the values that occur.
        threshold: Mask values from it on become 255, others 0.
        mask_suffix: What each mask has after the image's name; None finds it out.
        patient: A regular expression that finds the patient in a name; None if every case is its
            own.
        axis: Which axis slices lie along, as `CaseSet.axis` says.
    """
    found = folder_cases(
        root=root,
        images=images,
        masks=masks,
        classes=classes,
        threshold=threshold,
        mask_suffix=mask_suffix,
        patient=patient,
    )
    files = [path for case in found.cases for path in (*case.images, *case.masks)]
    if others := [str(path) for path in files if not is_volume(path)]:
        raise UserError(
            f"{found.source} has {len(others)} files that are no volumes: {listed(others)}; "
            f"expected {', '.join(VOLUME_SUFFIXES)}. Remove them, or use data=folder for flat "
            "images."
        )
    return replace(found, axis=axis)
