"""An epoch of loading, beside torchvision's reference detection pipeline, interleaved.

    OMP_NUM_THREADS=1 python benchmarks/data_pipeline.py --root <bccd>

Both decode the training images, flip every second one with its boxes, and hand over lists of float
images in [0, 1] and their boxes. torchvision's is that of ``references/detection`` (presets.py with
Pillow, ``use_v2``): `CocoDetection`, ``wrap_dataset_for_transforms_v2`` with boxes and labels,
RandomHorizontalFlip, ``PILToTensor``, ``ToDtype``. Without ``--root`` the set is the one that the
project generates.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from tasks.common.machine import describe, prepare_cpu
from tasks.detection.data import DetectionDataModule, coco_splits
from tasks.detection.dataset import collate
from tasks.detection.sample import write_sample
from tasks.detection.transforms import train_transform

ANNOTATIONS = "annotations/instances_{}.json"
BATCH = 4


def reference(root: Path, *, workers: int) -> DataLoader[Any]:
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
    return DataLoader(
        wrapped,
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
    )


def ours(root: Path, *, workers: int, cache: bool) -> DataLoader[Any]:
    """Return Keel's batches."""
    splits = coco_splits(
        root=root, train=ANNOTATIONS.format("train"), val=ANNOTATIONS.format("val")
    )
    return DetectionDataModule(
        train=splits.train,
        val=splits.val,
        test=None,
        batch_size=BATCH,
        workers=workers,
        transform=train_transform(flip=0.5),
        cache=cache,
    ).train_dataloader()


def epoch(batches: Iterable[Any]) -> int:
    """Load an epoch; Keel's images become floats here, as they do in its training step."""
    seen = 0
    for images, _ in batches:
        floats = [i if i.is_floating_point() else i.float().div_(255) for i in images]
        seen += len(floats)
    return seen


def measure(root: Path, *, repeats: int, workers: int = 0) -> dict[str, list[float]]:
    """Return the seconds of each epoch by system, after one epoch that does not count.

    Args:
        root: A COCO-format set with ``images`` and ``annotations/instances_{train,val}.json``.
        repeats: Epochs of each.
        workers: Processes that load, in each system.
    """
    cv2.setNumThreads(1)
    calls: dict[str, Callable[[], int]] = {
        "torchvision": partial(epoch, reference(root, workers=workers)),
        "Keel, no cache": partial(epoch, ours(root, workers=workers, cache=False)),
        "Keel": partial(epoch, ours(root, workers=workers, cache=True)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    counts = set()
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            counts.add(call())
            seconds[name].append(time.perf_counter() - started)
    if len(counts) != 1:
        raise ValueError(f"the systems saw {sorted(counts)} images; expected the same number.")
    return {name: values[1:] for name, values in seconds.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="such as <bccd>")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    cpu = prepare_cpu(0)
    print(f"{describe()['processor']}, {cpu}")
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or write_sample(Path(folder) / "sample")
        for workers in options.workers:
            seconds = measure(root, repeats=options.repeats, workers=workers)
            base = statistics.median(seconds["torchvision"])
            for name, values in seconds.items():
                median = statistics.median(values)
                print(
                    f"{workers} workers  {name:<15} {median:6.3f} s an epoch (fastest "
                    f"{min(values):.3f}, slowest {max(values):.3f})  {base / median:.2f}"
                )


if __name__ == "__main__":
    main()
