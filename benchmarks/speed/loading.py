"""An epoch of loading, beside torchvision's reference detection pipeline, in the main process.

Both flip every second training image with its boxes, and hand over lists of float images in [0, 1]
and their boxes. All decode the images, but for Keel from its second epoch on, which has kept them.
torchvision's is that of ``references/detection`` (presets.py with Pillow, ``use_v2``):
`CocoDetection`, ``wrap_dataset_for_transforms_v2`` with boxes and labels, RandomHorizontalFlip,
``PILToTensor``, ``ToDtype``.
"""

from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from benchmarks.harness import Comparison
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.dataset import collate
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.data.transforms import train_transform
from tasks.detection.options import AugmentOptions

ANNOTATIONS: Final = "annotations/instances_{}.json"
BATCH: Final = 4


def reference(root: Path) -> DataLoader[Any]:
    """Return torchvision's batches."""
    steps = [
        v2.RandomHorizontalFlip(0.5),
        v2.PILToTensor(),
        v2.ToDtype(torch.float, scale=True),
        v2.ToPureTensor(),
    ]
    annotations = root / ANNOTATIONS.format("train")
    with redirect_stdout(StringIO()):  # pycocotools prints
        images = CocoDetection(root / "images", annotations, transforms=v2.Compose(steps))
    wrapped = wrap_dataset_for_transforms_v2(images, target_keys=("boxes", "labels", "image_id"))
    return DataLoader(wrapped, batch_size=BATCH, shuffle=True, collate_fn=collate)


def ours(root: Path, *, decoded: bool) -> DataLoader[Any]:
    """Return Keel's batches."""
    train, val = (
        read_coco(root / ANNOTATIONS.format(split), root / "images") for split in ("train", "val")
    )
    return DetectionDataModule(
        train=train,
        val=val,
        test=None,
        batch_size=BATCH,
        transform=train_transform(AugmentOptions(flip=0.5)),
        decoded=decoded,
    ).train_dataloader()


class Epoch:
    """An epoch of COCO data or, with no root, of the sample; Keel's images become floats in it."""

    def __init__(self, make: Callable[[Path], DataLoader[Any]], root: Path | None) -> None:
        self.batches = make(root or write_sample(Path("sample") / "detection"))

    def __call__(self) -> int:
        """Load it, and return how many images there were."""
        seen = 0
        for images, _ in self.batches:
            floats = [i if i.is_floating_point() else i.float().div_(255) for i in images]
            seen += len(floats)
        return seen


def check_equal(*counts: int) -> None:
    """Raise RuntimeError unless every system has loaded the same number of images."""
    if len(set(counts)) != 1:
        raise RuntimeError(f"the systems loaded {counts} images; expected the same number.")


def comparison(*, small: bool, data: Path | None = None) -> Comparison:  # noqa: ARG001 (is small)
    """Compare an epoch of ``images`` and ``annotations/instances_*.json``, or of the sample."""
    systems: dict[str, Callable[[Path], DataLoader[Any]]] = {
        "torchvision's reference": reference,
        "Keel, trainer.cache=none": partial(ours, decoded=False),
        "Keel, from the second epoch on": partial(ours, decoded=True),
    }
    return Comparison(
        title=f"An epoch of loading, {'the generated sample' if data is None else data.name}",
        systems={name: partial(Epoch, make, data) for name, make in systems.items()},
        check=check_equal,
        memory=False,
    )
