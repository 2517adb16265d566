"""Splits of a detection data set, and the batches made of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from tasks.common.data.data_module import ResumableDataModule
from tasks.common.data.sampling import ASPECT_BINS
from tasks.common.files.paths import existing_folder, listed
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.dataset import DetectionDataset, collate, decoded_images
from tasks.detection.data.decoded import DecodedImages
from tasks.detection.data.labelled import LabelledSet
from tasks.detection.data.layouts.coco import labelled_coco
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.data.layouts.voc import labelled_voc, numbered
from tasks.detection.data.layouts.voc_files import VocFiles, read_image_sets
from tasks.detection.data.splits import Splits, with_given
from tasks.detection.data.transforms import SeededTransform


def coco_splits(  # noqa: PLR0913 (three files, three folders and how one file is divided)
    *,
    root: str | Path,
    train: str,
    val: str | None,
    test: str | None = None,
    train_images: str = "images",
    val_images: str | None = None,
    test_images: str | None = None,
    classes: Sequence[str] | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    group: str | None = None,
) -> Splits:
    """Return the splits of a data set with a COCO annotation file for each, or with one for all.

    The class list of the training file rules: the others are read with it, whatever their ids.
    Without a validation file the training file is divided, stratified by class: into train, val
    and test, or into train and val where there is a test file.

    Args:
        root: The folder that the other paths are relative to.
        train: Annotation file of the training split, or of all images.
        val: Annotation file of the validation split; None to divide the training file.
        test: Annotation file of the test split; None for no test, or one that is divided off.
        train_images: Image folder of the training split.
        val_images: Image folder of the validation split; None for that of the training split.
        test_images: Image folder of the test split; None for that of the training split.
        classes: Class names that fix the labels, such as those of a checkpoint; None for those of
            the training file, by category id.
        fractions: Of train, val and test where the training file is divided; 0 for no test.
        seed: Of that division.
        group: A regular expression that finds in a file name what stays on one side, such as the
            video of a frame; None for images that can be parted.

    Raises:
        FileNotFoundError: If ``root`` or a file or folder in it is missing; see `read_coco`.
        ValueError: If a file is malformed or its classes do not fit; see `read_coco`. If there are
            too few images to divide, ``group`` finds nothing in a name, or a group lies on two
            sides.
    """
    base = existing_folder(Path(root), what="root")
    learnt = labelled_coco(base / train, base / train_images, classes=classes)

    def held_out(file: str, images: str | None) -> LabelledSet:
        return labelled_coco(base / file, base / (images or train_images), classes=learnt.classes)

    given = {} if val is None else {"val": held_out(val, val_images)}
    if test is not None:
        given["test"] = held_out(test, test_images)
    return with_given(learnt, given, fractions=fractions, seed=seed, group=group)


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


class DetectionDataModule(ResumableDataModule):
    """The batches of three splits.

    A batch is a list of images (C, H, W), uint8, and a list of targets; see `DetectionDataset`.
    Training images are shuffled and grouped by shape; the others come in order. On several ranks
    an image of val or test can come twice, so keep one result per ``image_id``.

    Args:
        train: To learn from.
        val: To choose the checkpoint with.
        test: For the final figure; None for none.
        batch_size: Images per batch and rank, at least 1.
        workers: Processes that load; 0 loads in the main process. It changes no sample.
        seed: Of order and augmentation, 0 or above.
        transform: Of the training images only; see `train_transform`.
        in_channels: 3 for RGB, 1 for gray.
        decoded: Keep the decoded images of train and val, from the first loader on; see
            `DecodedImages`. Those of train are not kept where entries of a prefix cache are read.
        folder: Where a scratch file for them lies; None keeps them in memory.

    Raises:
        ValueError: If the splits differ in their classes, one has no box, ``batch_size`` is below
            1, or ``workers`` is below 0. By ``test_dataloader``, if there is no test split.
    """

    def __init__(  # noqa: PLR0913 (three splits and what is done to them)
        self,
        *,
        train: Annotations,
        val: Annotations,
        test: Annotations | None,
        batch_size: int,
        workers: int = 0,
        seed: int = 0,
        transform: SeededTransform | None = None,
        in_channels: int = 3,
        decoded: bool = False,
        folder: Path | None = None,
    ) -> None:
        super().__init__(workers=workers, seed=seed)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
        purposes = ((train, "learn from"), (val, "choose the checkpoint with"), (test, "test with"))
        for split, purpose in purposes:
            if split is not None:
                _check_boxes(split, purpose)
                _check_classes(train, split)
        self.train, self.val, self.test = train, val, test
        self.batch_size = batch_size
        self.transform = transform
        self.in_channels = in_channels
        self.decoded = decoded
        self.folder = folder
        self._kept: dict[str, DecodedImages] = {}

    def training_set(self) -> DetectionDataset:
        """Return the images to learn from, each decoded whenever it is asked for."""
        return self._training_set(None)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches to learn from, in another order each epoch."""
        decoded = None if self.cache is not None else self._decoded("train", self.train)
        return self.training_loader(
            self._training_set(decoded),
            aspect_ratios=[record.width / record.height for record in self.train.images],
            batch_size=self.batch_size,
            bins=ASPECT_BINS,
            collate=collate,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches, in order."""
        return self._in_order(self.val, self._decoded("val", self.val))

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches, in order."""
        if self.test is None:
            raise ValueError("there is no test split; give test, or do not run the test.")
        return self._in_order(self.test, None)  # seen once

    def _decoded(self, name: str, split: Annotations) -> DecodedImages | None:
        """Return the one memory of a split's images, if they are kept."""
        if self.decoded and name not in self._kept:
            self._kept[name] = decoded_images(
                split, in_channels=self.in_channels, folder=self.folder
            )
        return self._kept.get(name)

    def _training_set(self, decoded: DecodedImages | None) -> DetectionDataset:
        return DetectionDataset(
            self.train,
            transform=self.transform,
            seed=self.seed,
            in_channels=self.in_channels,
            decoded=decoded,
        )

    def _in_order(self, split: Annotations, decoded: DecodedImages | None) -> DataLoader[Any]:
        dataset = DetectionDataset(
            split, seed=self.seed, in_channels=self.in_channels, decoded=decoded
        )
        return self.ordered_loader(
            dataset, length=len(dataset), batch_size=self.batch_size, collate=collate
        )


def _check_boxes(split: Annotations, purpose: str) -> None:
    """Raise if there are only images without a box, for which AP is not defined."""
    if split.num_boxes == 0:
        raise ValueError(
            f"{split.source}: no boxes in {len(split.images)} images to {purpose}; "
            "expected at least one. Annotate some, or split the data in another way."
        )


def _check_classes(train: Annotations, split: Annotations) -> None:
    """Raise unless both have the same labels."""
    if list(train.classes) != list(split.classes):
        raise ValueError(
            f"{split.source} has the classes {listed(split.classes, limit=10)}, but {train.source} "
            f"has {listed(train.classes, limit=10)}; expected the same in the same order. "
            "Read it with classes=train.classes."
        )


def sample_splits(*, root: str | Path) -> Splits:
    """Return the splits of the generated sample set, which is written on first use.

    Args:
        root: Its folder; see `tasks.detection.data.layouts.sample.write_sample`.

    Raises:
        ValueError: If the folder holds something else.
    """
    folder = write_sample(Path(root))
    names = {split: f"annotations/instances_{split}.json" for split in ("train", "val", "test")}
    return coco_splits(root=folder, train=names["train"], val=names["val"], test=names["test"])
