"""The batches of a segmentation run."""

import sys
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from tasks.common.data.data_module import ResumableDataModule
from tasks.segmentation.data.case_properties import CaseFacts
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.dataset import CaseDataset, CaseSample, PatchDataset
from tasks.segmentation.data.input import Preprocessing
from tasks.segmentation.data.store import CaseStore
from tasks.segmentation.data.transforms import PatchTransform
from tasks.segmentation.options import InputOptions


class SegmentationDataModule(ResumableDataModule):
    """The batches of three splits: patches to learn from, whole cases to be scored.

    A training batch is (N, n, h, w) float32 and labels; a batch of val or test is one `CaseSample`.
    On several ranks a case of val or test can come twice, so keep one result per name. ``auto`` in
    ``options`` must have been resolved. Decoded cases of train and val are kept as ``cache`` says,
    in ``memory``, on ``disk`` (in ``folder``) or not (``none``); ``sizes`` are their bytes.
    """

    def __init__(  # noqa: PLR0913 (three splits and what is done to them)
        self,
        *,
        train: tuple[CaseSet, Sequence[CaseFacts]],
        val: CaseSet,
        test: CaseSet,
        options: InputOptions,
        preprocessing: Preprocessing,
        batch_size: int,
        transform: PatchTransform | None,
        workers: int = 0,
        seed: int = 0,
        cache: str = "none",
        folder: Path | None = None,
        sizes: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> None:
        super().__init__(workers=workers, seed=seed)
        self.options = options
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.transform = transform
        self.facts = train[1]
        scratch: Path | Literal["memory"] | None = folder if cache == "disk" else None
        if cache == "memory" and workers:
            scratch = "memory"
        limit = sys.maxsize if cache == "memory" and not workers else 0
        self.train, self.val = (
            CaseStore(cases, options, limit=limit, sizes=each, scratch=scratch)
            for cases, each in zip((train[0], val), sizes, strict=True)
        )
        self.test = CaseStore(test, options, limit=0)

    def training_set(self) -> PatchDataset:
        """Return the patches to learn from."""
        return PatchDataset(
            self.train,
            [facts.shape[0] for facts in self.facts],
            preprocessing=self.preprocessing,
            options=self.options,
            transform=self.transform,
            seed=self.seed,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches to learn from, in another order each epoch."""
        self.train.open()
        dataset = self.training_set()
        square = [1.0] * len(dataset)
        return self.training_loader(dataset, aspect_ratios=square, batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation cases, in order."""
        self.val.open()
        return self._in_order(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test cases, in order."""
        return self._in_order(self.test)

    def transfer_batch_to_device(
        self,
        batch: Any,  # noqa: ANN401 (Lightning's signature)
        device: torch.device,
        dataloader_idx: int,
    ) -> Any:  # noqa: ANN401
        """Leave whole cases where they are: a volume goes to the device a few slices at a time."""
        if isinstance(batch, CaseSample):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _in_order(self, store: CaseStore) -> DataLoader[Any]:
        dataset = CaseDataset(store, preprocessing=self.preprocessing)
        return self.ordered_loader(dataset, length=len(store), batch_size=1, collate=itemgetter(0))
