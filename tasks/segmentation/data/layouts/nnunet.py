"""Cases from a data set in nnU-Net's raw layout.

Source: MIC-DKFZ/nnUNet, documentation/dataset_format.md and region_based_training.md.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.files.paths import (
    contents,
    existing_file,
    existing_folder,
    hint,
    is_hidden,
    listed,
    named_file,
)
from tasks.common.files.text import read_json
from tasks.segmentation.data.cases import (
    BACKGROUND,
    IGNORED,
    Case,
    CaseSet,
    ClassTable,
    class_table,
)
from tasks.segmentation.data.formats.files import SUFFIXES, VOLUME_SUFFIXES
from tasks.segmentation.data.layouts.folder import named_cases, refuse_unmatched
from tasks.segmentation.data.masks.read import NNUNET

_KEYS: Final = ("channel_names", "labels", "file_ending")
_Files = dict[str, tuple[dict[int, Path], Path]]  # by case: images by channel, and the label


def nnunet_cases(
    *,
    root: str | Path,
    patient: str | None = None,
    axis: int = -1,
    splits: str | None = None,
    splits_fold: int = 0,
) -> CaseSet:
    """Return the training cases of a data set in nnU-Net's raw layout, version 2 or 1.

    ``dataset.json`` names channels and classes. Files are ``imagesTr/{case}_{channel:04d}`` and
    ``labelsTr/{case}``, or those that its ``dataset`` lists. Regions become classes that may
    overlap; pixels with the label ``ignore`` are left out. Several channels may share one file
    ``{case}_0000`` unless it is a volume, as in nnU-Net's RGB images. ``imagesTs``, which has no
    labels, is not read.

    Args:
        root: The folder of ``dataset.json``, such as ``nnUNet_raw/Dataset005_Prostate``.
        patient: A regular expression that finds the patient in a name; None if every case is its
            own.
        axis: Which axis slices lie along, as `CaseSet.axis` says.
        splits: An nnU-Net ``splits_final.json``, relative to ``root``, that names the cases of
            train and val; others are left out, and counted. None if it is not to decide.
        splits_fold: Which of its folds, from 0.
    """
    base = existing_folder(Path(root), what="root")
    source = existing_file(base / "dataset.json", what="nnU-Net's description")
    description = _description(source)
    channels = _channels(description["channel_names"], source)
    table = _table(description["labels"], source)
    files = _all_files(base, description, source)
    _refuse_gaps(files, channels, shared=description["file_ending"] not in VOLUME_SUFFIXES)
    named = {
        name: (tuple(path for _, path in sorted(images.items())), (label,))
        for name, (images, label) in files.items()
    }
    cases = named_cases(named, patient)
    notes: tuple[str, ...] = ()
    if splits is not None:
        cases, notes = _with_split(cases, base / splits, splits_fold)
    return CaseSet(
        source=str(base),
        cases=cases,
        classes=table,
        axis=axis,
        channel_names=tuple(channels),
        notes=notes,
    )


def _all_files(base: Path, description: Mapping[str, Any], source: Path) -> _Files:
    """Return the files that the description lists or, if it lists none, that the folders hold."""
    ending = description["file_ending"]
    if ending not in SUFFIXES:
        raise UserError(
            f"{source}: file_ending is {ending!r}; expected one of {', '.join(SUFFIXES)}."
        )
    given = description.get("dataset")
    files = _found(base, ending) if given is None else _listed(base, given, source)
    if (stated := description.get("numTraining", len(files))) != len(files):
        raise UserError(
            f"{source}: numTraining is {stated!r}, but there are {len(files)} cases. Correct it, "
            "or look for the files that are missing."
        )
    return files


def _description(source: Path) -> dict[str, Any]:
    """Return ``dataset.json`` as version 2 has it."""
    found = read_json(source)
    if isinstance(found, dict) and "modality" in found and "channel_names" not in found:
        labels = found.get("labels")
        found |= {"channel_names": found["modality"], "file_ending": ".nii.gz"}
        if isinstance(labels, dict) and all(key.isdecimal() for key in labels):
            found["labels"] = {name: int(key) for key, name in labels.items()}
    keys = list(found) if isinstance(found, dict) else []
    for key in _KEYS:
        if key not in keys:
            raise UserError(
                f"{source}: {key!r} is missing{hint(key, keys)}; expected an object with "
                f"{', '.join(_KEYS)}, got {listed(keys, limit=10) or 'none of them'}. Add it."
            )
    return dict(found)


def _channels(names: Any, source: Path) -> list[str]:  # noqa: ANN401 (JSON)
    keys = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if not keys or set(keys) != set(names):
        raise UserError(
            f'{source}: channel_names is {names}; expected numbers from 0 and names, such as {{"0":'
            ' "T2", "1": "ADC"}.'
        )
    return [str(names[key]) for key in keys]


def _table(labels: Any, source: Path) -> ClassTable:  # noqa: ANN401 (JSON)
    """Return the classes; those of which one is a list of labels may overlap."""
    try:
        values = {
            # Not int(v), which would cut 1.5 to 1.
            name: tuple(int(str(v)) for v in (value if isinstance(value, list) else [value]))
            for name, value in labels.items()
        }
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{source}: labels is {labels}; expected names with a number or, for regions, a list "
            'of numbers each, such as {"background": 0, "tumor": 1}.'
        ) from None
    ignored = values.pop(IGNORED, ())
    regions = any(len(value) > 1 for value in values.values())
    all_values = chain.from_iterable(values.values())
    learnt = sorted(set(all_values) if regions else all_values)
    expected = list(range(len(learnt) + len(ignored)))
    if values.get(BACKGROUND) != (0,) or [*learnt, *ignored] != expected or len(ignored) > 1:
        raise UserError(
            f"{source}: labels is {labels}; nnU-Net demands background 0 and consecutive numbers "
            "behind it, each of one class unless there are regions, and the highest for 'ignore'. "
            "Correct the labels."
        )
    if not regions:
        pairs = [(value[0], name) for name, value in values.items()]
        table = dict(pairs) | dict.fromkeys(ignored, IGNORED)
        return class_table(table, source=NNUNET)
    del values[BACKGROUND]
    return ClassTable(
        names=tuple(values),
        values=tuple(values.values()),
        exclusive=False,
        ignored=ignored,
        source=NNUNET,
    )


def _found(base: Path, ending: str) -> _Files:
    images: dict[str, dict[int, Path]] = {}
    for path in _listing(base / "imagesTr", ending):
        if not (match := re.fullmatch(r"(.+)_(\d{4})", path.name.removesuffix(ending))):
            raise UserError(
                f"{path} has no channel number; expected a name such as case_0000{ending}. Rename "
                "it; data of the Medical Decathlon is converted by nnUNetv2_convert_MSD_dataset."
            )
        images.setdefault(match[1], {})[int(match[2])] = path
    folder = base / "labelsTr"
    labels = {path.name.removesuffix(ending): path for path in _listing(folder, ending)}
    refuse_unmatched(images, labels, source=folder)
    return {name: (images[name], labels[name]) for name in images}


def _listing(folder: Path, ending: str) -> list[Path]:
    existing_folder(folder, what="nnU-Net folder")
    paths = [p for p in sorted(folder.glob(f"*{ending}")) if not is_hidden(p) and p.is_file()]
    if not paths:
        raise UserError(
            f"{folder}: no files with the file_ending {ending!r} of dataset.json. "
            f"{contents(folder)}"
        )
    return paths


def _listed(base: Path, given: Any, source: Path) -> _Files:  # noqa: ANN401 (JSON)
    files: _Files = {}
    for name, entry in given.items() if isinstance(given, dict) else [("", given)]:
        if not (paths := _paths(entry)):
            raise UserError(
                f"{source}: dataset has {name!r}: {entry}; expected "
                '{"images": ["...", ...], "label": "..."} for each case.'
            )
        what = f"{source}: case {name!r}: file"
        label, *images = (named_file(base, path, what=what) for path in paths)
        files[name] = (dict(enumerate(images)), label)
    if not files:
        raise UserError(f"{source}: dataset lists no case; expected one at least, or no 'dataset'.")
    return files


def _paths(entry: Any) -> list[str]:  # noqa: ANN401 (JSON)
    """Return the paths of a case, the label first; none if it is malformed."""
    try:
        paths = [entry["label"], *entry["images"]]
    except (KeyError, TypeError):
        return []
    whole = all(isinstance(path, str) and path for path in paths)
    return paths if whole and len(paths) > 1 else []


def _refuse_gaps(files: _Files, channels: Sequence[str], *, shared: bool) -> None:
    """Raise an error unless every case has each channel, or each has one file for all."""
    numbers = set(range(len(channels)))
    if shared and all(set(images) == {0} for images, _ in files.values()):
        return
    for name, (images, label) in files.items():
        missing, extra = sorted(numbers - set(images)), sorted(set(images) - numbers)
        problem = f"lacks {', '.join(f'{n:04d} ({channels[n]})' for n in missing)}"
        if missing or extra:
            raise UserError(
                f"{label.parent.parent}: case {name!r} of channels 0 to {len(channels) - 1} "
                f"{problem if missing else f'has also {extra[0]:04d}'}; expected all that "
                "channel_names lists, and no other."
            )


def _with_split(
    cases: Sequence[Case], path: Path, fold: int
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Return the cases of a fold of ``splits_final.json``, and a note about those left out."""
    folds = read_json(existing_file(path, what="file of splits"))
    if not isinstance(folds, list) or not all(_is_fold(entry) for entry in folds):
        raise UserError(
            f'{path}: expected a list of folds, each {{"train": [names], "val": [names]}}.'
        )
    if not isinstance(fold, int) or not 0 <= fold < len(folds):
        raise UserError(
            f"splits_fold is {fold!r}; expected 0 to {len(folds) - 1}, as {path} has {len(folds)} "
            "folds."
        )
    sides = {name: side for side in ("train", "val") for name in folds[fold][side]}
    named = Counter([*folds[fold]["train"], *folds[fold]["val"]])
    if twice := sorted(name for name, count in named.items() if count > 1):
        raise UserError(f"{path}, fold {fold}: {listed(twice)} is named twice.")
    names = {case.name for case in cases}
    unknown, silent = sorted(set(sides) - names), sorted(names - set(sides))
    if unknown:
        raise UserError(
            f"{path}, fold {fold} names cases that are not there: {listed(unknown)}"
            f"{hint(unknown[0], sorted(names))}; expected names of the training cases, without "
            "channel and suffix."
        )
    if empty := [side for side in ("train", "val") if not folds[fold][side]]:
        raise UserError(f"{path}, fold {fold} has no {empty[0]} case; expected one at least.")
    left = f"{path.name}, fold {fold} leaves out {len(silent)} of {len(names)} cases: "
    notes = (left + listed(silent),) if silent else ()
    kept = (case for case in cases if case.name in sides)
    return tuple(replace(case, split=sides[case.name]) for case in kept), notes


def _is_fold(entry: object) -> bool:
    return isinstance(entry, Mapping) and all(
        isinstance(entry.get(side), list) and all(isinstance(name, str) for name in entry[side])
        for side in ("train", "val")
    )
