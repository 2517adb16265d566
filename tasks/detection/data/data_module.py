"""The batches of a detection data set."""

from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from backbones.errors import UserError
from tasks.common.data.data_module import ResumableDataModule
from tasks.common.data.samplers import ASPECT_BINS
from tasks.common.files.paths import listed
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.dataset import DecodedImages, DetectionDataset, collate, decoded_images
from tasks.detection.data.transforms import SeededTransform


class DetectionDataModule(ResumableDataModule):
    """The batches of three splits: a list of images and one of targets, see `DetectionDataset`.

    Training images are shuffled and grouped by shape; the others come in order. On several ranks an
    image of val or test can come twice, so keep one result per ``image_id``. ``decoded`` keeps the
    images of train (unless read from a feature cache) and val in a temporary file in ``folder``, or
    in memory if it is None.
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
            raise UserError(f"batch_size is {batch_size}; expected at least 1.")
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

    def training_set(self, decoded: DecodedImages | None = None) -> DetectionDataset:
        """Return the images to learn from; without ``decoded`` each is decoded when asked for."""
        return self._dataset(self.train, decoded, transform=self.transform)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches to learn from, in another order each epoch."""
        decoded = None if self.cache is not None else self._decoded("train", self.train)
        return self.training_loader(
            self.training_set(decoded),
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
            raise UserError("there is no test split; give test, or do not run the test.")
        return self._in_order(self.test, None)  # seen once

    def _decoded(self, name: str, split: Annotations) -> DecodedImages | None:
        if self.decoded and name not in self._kept:
            self._kept[name] = decoded_images(
                split, in_channels=self.in_channels, folder=self.folder
            )
        return self._kept.get(name)

    def _dataset(
        self,
        split: Annotations,
        decoded: DecodedImages | None,
        transform: SeededTransform | None = None,
    ) -> DetectionDataset:
        options = {"seed": self.seed, "in_channels": self.in_channels}
        return DetectionDataset(split, transform=transform, decoded=decoded, **options)

    def _in_order(self, split: Annotations, decoded: DecodedImages | None) -> DataLoader[Any]:
        dataset, size = self._dataset(split, decoded), self.batch_size
        return self.ordered_loader(dataset, length=len(dataset), batch_size=size, collate=collate)


def _check_boxes(split: Annotations, purpose: str) -> None:
    if split.num_boxes == 0:
        raise UserError(
            f"{split.source}: no boxes in {len(split.images)} images to {purpose}; "
            "expected at least one. Annotate some, or split the data in another way."
        )


def _check_classes(train: Annotations, split: Annotations) -> None:
    if list(train.classes) != list(split.classes):
        raise UserError(
            f"{split.source} has the classes {listed(split.classes, limit=10)}, but {train.source} "
            f"has {listed(train.classes, limit=10)}; expected the same in the same order. "
            "Read it with classes=train.classes."
        )
