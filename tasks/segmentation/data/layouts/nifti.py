"""Cases from a folder of NIfTI volumes and a folder of their masks."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.common.files.paths import listed
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.layouts.folder import folder_cases


def nifti_cases(
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

    They are matched as `folder_cases` says.

    Args:
        root: The folder that the other paths are relative to.
        images: Folder of the volumes, ``.nii`` or ``.nii.gz``.
        masks: Folder of their masks.
        classes: What mask values stand for; None for the values that occur.
        threshold: As of `folder_cases`.
        mask_suffix: As of `folder_cases`.
        patient: A regular expression that finds the patient in a name; None if every case is its
            own.
        axis: Which axis slices lie along, as `CaseSet.axis` says.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If ``axis`` is none, a file is no NIfTI, or what `folder_cases` refuses.
    """
    axis = checked_axis(axis)
    found = folder_cases(
        root=root,
        images=images,
        masks=masks,
        classes=classes,
        threshold=threshold,
        mask_suffix=mask_suffix,
        patient=patient,
    )
    files = [str(path) for case in found.cases for path in (*case.images, *case.masks)]
    others = [file for file in files if not file.lower().endswith((".nii", ".nii.gz"))]
    if others:
        raise ValueError(
            f"{found.source} has {len(others)} files that are no NIfTI: {listed(others)}; expected "
            ".nii or .nii.gz. Remove them, or use the source 'folder' for flat images."
        )
    return replace(found, axis=axis)


def checked_axis(axis: int) -> int:
    """Return the axis.

    Args:
        axis: 0, 1 or 2 of the canonical orientation, or -1 for the one with the largest spacing.

    Raises:
        ValueError: If it is another.
    """
    if axis not in (-1, 0, 1, 2):
        raise ValueError(
            f"axis is {axis!r}; expected 0 (sagittal slices), 1 (coronal), 2 (axial), or -1 for "
            "the one with the largest spacing."
        )
    return axis
