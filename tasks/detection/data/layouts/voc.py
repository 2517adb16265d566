"""Read folders of Pascal-VOC XML files."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tasks.common.files.paths import existing_folder, hint, listed
from tasks.common.report.advice import advice
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.boxes import LabelledImage
from tasks.detection.data.labelled import LabelledSet
from tasks.detection.data.layouts.voc_files import VocFiles, read_image_sets
from tasks.detection.data.layouts.voc_xml import class_name, read_record, read_xml
from tasks.detection.data.splits import Splits, with_given

DIFFICULT: Final = "difficult, kept for evaluation only"


def voc_splits(
    *,
    root: str | Path,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    classes: Sequence[str] | None = None,
    one_based: bool = True,
    group: str | None = None,
) -> Splits:
    """Return the splits of a data set in Pascal VOC's layout.

    They are those of ``ImageSets/Main/{train,val,test}.txt``, with the classes of the training
    split. Without train and val, the images of ``trainval.txt``, or all, are divided at random,
    stratified by class, with the classes of all. XML files in folders ``train``, ``val`` (or
    ``valid``) and ``test`` are split so.

    Args:
        root: The folder that the other paths are relative to.
        annotations: Folder of the XML files.
        images: Folder of the images.
        fractions: Of train, val and test in a random split; 0 for no test.
        seed: Of the random split.
        classes: Class names that fix the labels; None for those that occur, sorted.
        one_based: Whether coordinates count from 1, as VOC's do; see `read_voc`.
        group: See `coco_splits`.

    Raises:
        FileNotFoundError: If a folder or file is missing; see `read_voc`.
        ValueError: If only one of train and val has a file of names, there are too few images to
            split, or a file is malformed or has other classes; see `read_voc`. As `coco_splits`
            for ``group``.
    """
    base = existing_folder(Path(root), what="root")
    found = VocFiles(base / annotations, base / images)
    sets = read_image_sets(base)
    sides = found.sides(sets)

    def read(side: str, classes: Sequence[str] | None) -> LabelledSet:
        return labelled_voc(found, sides[side], classes=classes, one_based=one_based)

    learnt = read("train", classes)
    given = {side: read(side, learnt.classes) for side in ("val", "test") if side in sides}
    splits = with_given(
        learnt, given, fractions=fractions, seed=seed, group=group, prepare=numbered
    )
    return replace(splits, notes=(*sets.warnings, *splits.notes))


def read_voc(
    annotation_folder: Path,
    image_folder: Path,
    *,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    one_based: bool = True,
) -> Annotations:
    """Return one split of a data set in Pascal VOC's format: an XML file per image.

    VOC counts pixels from 1, and its ``xmax, ymax`` are the last pixels inside. The box in the
    coordinates used here, with 0 as the left edge of the image, is therefore
    ``(xmin - 1, ymin - 1, xmax, ymax)``, as in detectron2. A box with ``xmax == xmin`` or
    ``ymax == ymin`` is a stray click and dropped; corners in the other order are put in order. An
    object marked ``difficult`` is not learnt and scored like a COCO crowd region: finding it is
    neither rewarded nor punished.

    The image of ``a.xml`` is the file in ``image_folder`` with the same stem; see
    `VocFiles.picture`. Images are numbered from 1 in the order of their names, classes as well.

    Args:
        annotation_folder: Where the XML files are, such as ``VOC2007/Annotations``, or in folders
            below.
        image_folder: Where the images are, such as ``VOC2007/JPEGImages``, or in folders below.
        names: Of the files of this split; see `VocFiles.named`. None for all.
        classes: Class names that fix the labels: label k is ``classes[k - 1]``. Pass those of
            the training split, or of a checkpoint. None for those that occur, sorted.
        one_based: As VOC counts. False for tools that write 0-based coordinates, whose
            ``xmax, ymax`` are then the right and lower edge.

    Raises:
        FileNotFoundError: If a folder or an XML file of ``names`` is missing.
        ValueError: If a file is not XML or declares a document type (which could pull in other
            files), lacks its size, a name or a coordinate, or has a class that is not in
            ``classes``; if no object says what the classes are; if the boxes are in another
            format. With the file and the value.
    """
    found = VocFiles(Path(annotation_folder), Path(image_folder))
    files = found.files if names is None else found.named(names, where=str(found.folder))
    return labelled_voc(found, files, classes=classes, one_based=one_based).annotations()


def labelled_voc(
    found: VocFiles,
    files: Sequence[Path],
    *,
    classes: Sequence[str] | None,
    one_based: bool,
) -> LabelledSet:
    """Return what some of the XML files say.

    Args:
        found: All files.
        files: Those to read, in the order of the images.
        classes: See `read_voc`.
        one_based: See `read_voc`.

    Raises:
        ValueError: See `read_voc`.
    """
    roots = {file: read_xml(file) for file in files}
    chosen = _classes(roots, classes)
    images = []
    for number, (file, root) in enumerate(roots.items(), start=1):
        try:
            height, width, regions = read_record(root, chosen, one_based=one_based)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        path = found.picture(file, (root.findtext("filename") or "").strip())
        images.append(
            LabelledImage(
                path=path,
                file_name=path.relative_to(found.images).as_posix(),
                image_id=number,
                height=height,
                width=width,
                regions=regions,
            )
        )
    _refuse_shared(images, list(roots))
    labelled = LabelledSet(
        source=found.folder,
        image_folder=found.images,
        images=images,
        classes=chosen,
        category_ids=range(1, len(chosen) + 1),
        ignored_reason=DIFFICULT,
        one_based=one_based,
    )
    training, scoring = f"one_based={str(one_based).lower()}", "--one-based"
    option = advice(training, otherwise=scoring if one_based else "--no-one-based")
    return labelled.judged("xyxy").counted_from(int(one_based), option)


def numbered(labelled: LabelledSet) -> LabelledSet:
    """Return a part of a set with its images numbered from 1.

    Args:
        labelled: Images of any numbers.
    """
    images = [
        replace(image, image_id=number) for number, image in enumerate(labelled.images, start=1)
    ]
    return replace(labelled, images=images)


def _classes(roots: Mapping[Path, ElementTree.Element], classes: Sequence[str] | None) -> list[str]:
    """Return the class names, and see to it that every object has one."""
    found: dict[str, Path] = {}
    for file, root in roots.items():
        for item in root.findall("object"):
            name = class_name(item)
            if not name:
                raise ValueError(f"{file}: an object has no name; expected <name> in each object.")
            found.setdefault(name, file)
    if classes is None:
        if not found:
            raise ValueError(
                f"{next(iter(roots)).parent}: no objects in {len(roots)} files; "
                "expected at least one, which says what the classes are."
            )
        return sorted(found)
    chosen = [name.strip() for name in classes]
    unknown = [name for name in found if name not in chosen]
    if unknown:
        raise ValueError(
            f"{found[unknown[0]]}: objects of {listed(unknown)}{hint(unknown[0], chosen)}; "
            f"expected only {listed(chosen, limit=10)}. Rename or remove them, or train with these "
            "classes too."
        )
    return list(classes)


def _refuse_shared(images: Sequence[LabelledImage], files: Sequence[Path]) -> None:
    """Raise if two XML files are of one image."""
    first: dict[Path, Path] = {}
    for image, file in zip(images, files, strict=True):
        other = first.setdefault(image.path, file)
        if other != file:
            raise ValueError(
                f"{other} and {file.name} are both of the image {image.file_name!r}; expected one "
                "XML file per image. Remove either, or add the missing image."
            )
