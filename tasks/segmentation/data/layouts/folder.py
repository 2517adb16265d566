"""Cases from a folder of images or volumes and a folder of masks, matched by their names."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from backbones.errors import UserError
from tasks.common.files.paths import contents, existing_folder, files_below, is_hidden, listed
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import Case, CaseSet
from tasks.segmentation.data.class_table import layered_table, table_of
from tasks.segmentation.data.formats.files import SUFFIXES, VOLUME_SUFFIXES, is_volume, stem_of
from tasks.segmentation.data.layouts.affixes import Matcher, several
from tasks.segmentation.data.splits import patient_of


def folder_cases(
    *,
    root: str | Path,
    images: str = "images",
    masks: str = "masks",
    classes: Mapping[Any, Any] | None = None,
    threshold: float | None = None,
    mask_suffix: str | None = None,
    patient: str | None = None,
    axis: int | None = None,
) -> CaseSet:
    r"""Return the cases of a folder with images and a folder with masks of the same names.

    A case's name is the path of its image within ``images``, without the suffix. Its mask has the
    same name and any suffix, possibly with a word such as ``_mask`` or ``_segmentation``, as
    `Matcher` says. Where ``masks`` holds nothing but one folder per class, with a mask per image in
    each, such as ``masks/vessel/a.png``, classes may overlap and are called as their folders.
    Hidden files and those of other kinds are skipped. An image without a mask, a mask without an
    image and two files of one name are refused.

    Args:
        root: The folder that the other paths are relative to.
        images: Folder of the images.
        masks: Folder of the masks.
        classes: Names of mask values or colours, such as {0: background, 255: cell}, see
            `table_of`; None for the values that occur in the masks, all of which are read then.
        threshold: Mask values from it on become 255, others 0, as noisy masks of two levels need
            it; None reads them as they are.
        mask_suffix: What each mask has after the image's name, such as ``_manual``; other files are
            skipped, and images and masks may be in one folder. None finds it out.
        patient: A regular expression with one group, the patient, that is found in every name,
            such as ``(\w+)_\d+``; None if every case is its own patient.
        axis: Axis of volumes that slices are cut along: 0, 1 or 2 (x, y or z), or -1 for the one of
            the largest spacing; 2D files are refused then. None takes these too, and is -1 else.
    """
    base = existing_folder(Path(root), what="root")
    folder = base / masks
    ending = None if mask_suffix is None else stem_of(mask_suffix)
    pictures, found, skipped = _both(base / images, folder, ending)
    matcher = Matcher(pictures, ending)
    layers = _class_folders(folder, found, matcher)
    notes: tuple[str, ...] = ()
    if layers:
        names = [layer.name for layer in layers]
        table = layered_table(names, classes, source="the folders of masks", threshold=threshold)
        files = [_ending_in(ending, _files(layer, what="mask"), layer) for layer in layers]
        parts = [_matched(matcher, f, folder=layer) for f, layer in zip(files, layers, strict=True)]
    else:
        parts = [_matched(matcher, found, folder=folder)]
        table, notes = table_of(classes, parts[0].values(), threshold=threshold)
    if axis is not None:
        _check_volumes([path for files in (pictures, *parts) for path in files.values()], base)
    files_of = {n: ((path,), tuple(part[n] for part in parts)) for n, path in pictures.items()}
    return CaseSet(
        source=str(base),
        cases=named_cases(files_of, patient),
        classes=table,
        axis=-1 if axis is None else axis,
        notes=(*matcher.note(), *skipped, *notes),
    )


def named_cases(
    files: Mapping[str, tuple[tuple[Path, ...], tuple[Path, ...]]], patient: str | None
) -> tuple[Case, ...]:
    """Return the cases of images and masks by name, in the order of the names."""
    return tuple(
        Case(name=name, images=images, masks=masks, patient=patient_of(name, patient))
        for name, (images, masks) in sorted(files.items())
    )


def refuse_unmatched(images: Collection[str], masks: Collection[str], *, source: Path) -> None:
    """Raise an error that names the images without a mask, and the masks without an image."""
    bare, stray = sorted(set(images) - set(masks)), sorted(set(masks) - set(images))
    left = [
        f"{len(names)} of {len(everything)} {what} ({listed(names)})"
        for names, everything, what in (
            (bare, images, "images without a mask"),
            (stray, masks, "masks without an image"),
        )
        if names
    ]
    if left:
        raise UserError(
            f"{source}: {' and '.join(left)}; expected one mask per image. Rename or remove them."
        )


def by_name(folder: Path, paths: Iterable[Path], *, what: str) -> dict[str, Path]:
    """Return files by their path in a folder without the suffix; two of one name are refused."""
    files: dict[str, Path] = {}
    for path in paths:
        name = stem_of(path.relative_to(folder))
        if files.setdefault(name, path) != path:
            raise UserError(
                f"{folder}: {files[name].name!r} and {path.name!r} are both the {what} of "
                f"{name!r}; expected one. Rename or remove the other."
            )
    return files


def _files(folder: Path, *, what: str) -> dict[str, Path]:
    below = files_below(existing_folder(folder, what=f"{what} folder"), suffixes=SUFFIXES)
    files = by_name(folder, below, what=what)
    if not files:
        raise UserError(
            f"{folder}: no {what} files; expected {', '.join(SUFFIXES)}. {contents(folder)}"
        )
    return files


def _check_volumes(files: Collection[Path], root: Path) -> None:
    if others := [str(path) for path in files if not is_volume(path)]:
        raise UserError(
            f"{root} has {len(others)} files that are no volumes: {listed(others)}; expected "
            f"{', '.join(VOLUME_SUFFIXES)}. Remove them, or use data=folder for flat images."
        )


def _both(
    images: Path, masks: Path, ending: str | None
) -> tuple[dict[str, Path], dict[str, Path], tuple[str, ...]]:
    """Return images and masks by name, and a note about the files that are neither."""
    pictures, found = _files(images, what="image"), _files(masks, what="mask")
    drawn = _ending_in(ending, found, masks)
    if masks.resolve() == images.resolve():
        if not ending:
            told_by = advice("data.mask_suffix=_mask", otherwise="--mask-suffix _mask")
            raise UserError(
                f"images and masks are both in {masks}; expected a folder for each, or what the "
                f"names of masks end in, such as {told_by}."
            )
        return {n: path for n, path in pictures.items() if n not in drawn}, drawn, ()
    left = len(found) - len(drawn)
    return pictures, drawn, (f"{left} masks do not end in {ending!r}: skipped",) * bool(left)


def _ending_in(ending: str | None, files: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Return the files whose names have the ending; all if it is None."""
    found = {name: path for name, path in files.items() if name.endswith(ending or "")}
    if not found:
        raise UserError(
            f"{folder}: no name of a mask ends in {ending!r}; there are "
            f"{listed(sorted(path.name for path in files.values()))}."
        )
    return found


def _class_folders(folder: Path, masks: Collection[str], matcher: Matcher) -> list[Path]:
    """Return the folders of the classes if each class has its own, else none."""
    inner = [name.partition("/")[2] for name in masks]
    if not all(inner) or matcher.match(list(masks), count=False):
        return []
    layers = [p for p in folder.iterdir() if p.is_dir() and not is_hidden(p)]
    parts = [[n.partition("/")[2] for n in masks if n.startswith(f"{p.name}/")] for p in layers]
    return sorted(layers) if any(matcher.match(part, count=False) for part in parts) else []


def _matched(matcher: Matcher, masks: Mapping[str, Path], *, folder: Path) -> dict[str, Path]:
    matched: dict[str, Path] = {}
    found = matcher.match(list(masks))
    for name, path in masks.items():
        image = found.get(name, name)
        if image in matched:
            raise several(matched[image].name, path.name, of=image, where=str(folder))
        matched[image] = path
    refuse_unmatched(matcher.images, matched, source=folder)
    return matched
