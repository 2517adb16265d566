"""What the prefix cache saves: seconds per training epoch, loading included, with and without it.

    OMP_NUM_THREADS=1 python benchmarks/prefix_cache.py

Without: images are decoded, augmented, resized and run through the frozen stages, as a batch.
With: entries are read from memory or from files. One network per case, the ways in turn; generated
images, random weights, stem to c4 frozen, no worker processes. Filling is what the first epoch
costs more.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from tasks.common.data.prefix.cache import PrefixCache
from tasks.common.machine.machine import describe
from tasks.common.machine.threads import prepare_cpu
from tasks.detection import assemble as detection
from tasks.detection.config import register_detection
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.model.prefix import FrozenBatch, losses_from
from tasks.segmentation import assemble as segmentation
from tasks.segmentation.config import register_segmentation
from tasks.segmentation.data.layouts.sample import write_sample as write_pictures
from tasks.segmentation.model.prefix import FrozenPatches, logits_from

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_SMALL = ("model=small", "model.min_size=480", "model.max_size=640")
_NARROW = ("model.channels=[64,48,32,16,16]",)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network to measure.

    Attributes:
        task: ``detection``, at 480 pixels, or ``segmentation``, in patches of 256x256.
        overrides: Of the task's configuration.
        batch: Images per step.
    """

    task: str
    overrides: tuple[str, ...]
    batch: int


def _detector(backbone: str, *overrides: str) -> Case:
    model = overrides or ("model=faster_rcnn", "model.min_size=480", "model.max_size=640")
    return Case(task="detection", overrides=(f"backbone={backbone}", *model), batch=2)


def _unet(backbone: str, *overrides: str) -> Case:
    return Case(task="segmentation", overrides=(f"backbone={backbone}", *overrides), batch=4)


CASES = {
    "Faster R-CNN, R50, FPN on c2-c5": _detector("resnet50"),
    "Faster R-CNN, R50, model=small": _detector("resnet50", *_SMALL),
    "Faster R-CNN, R101, model=small": _detector("resnet101", *_SMALL),
    "U-Net, R34": _unet("resnet34"),
    "U-Net, R50": _unet("resnet50"),
    "U-Net, R101": _unet("resnet101"),
    "U-Net, R101, narrow decoder": _unet("resnet101", *_NARROW),
    "U-Net, R101, narrow, augment=strong": _unet("resnet101", *_NARROW, "augment=strong"),
}


def measure(
    case: Case, *, images: int, repeats: int, precision: str = "auto", folder: Path
) -> dict[str, Any]:
    """Return seconds per epoch of each way, those to fill the cache, and its bytes.

    Args:
        case: An entry of `CASES`.
        images: Of an epoch.
        repeats: Epochs of each way, in turn, after one that does not count.
        precision: Of the configuration's ``trainer``.
        folder: For generated images and the cache's files.
    """
    cfg = _configuration(case, images=images, precision=precision, folder=folder)
    step, data = _parts(case.task, cfg)
    cache = data.cache
    options = replace(cache.options, where="disk", folder=str(folder / "cache"))
    given = {"collate": cache.collate, "precision": cache.precision, "device": cache.device}
    on_disk = PrefixCache(options, cache.encoder, cache.samples, **given)
    filled = {}
    for where, each in (("memory", cache), ("disk", on_disk)):
        started = time.perf_counter()
        each.fill(workers=0)
        filled[where] = time.perf_counter() - started
    loaders = {}
    for way, used in (("uncached", None), ("memory", cache), ("disk", on_disk)):
        data.cache = used
        loaders[way] = data.train_dataloader()
    seconds: dict[str, list[float]] = {way: [] for way in loaders}
    for epoch in range(repeats + 1):
        for way, loader in loaders.items():
            loader.batch_sampler.sampler.set_epoch(epoch)
            started = time.perf_counter()
            for batch in loader:
                step(batch)
            seconds[way].append(time.perf_counter() - started)
    counted = {way: values[1:] for way, values in seconds.items()}
    return {"seconds": counted, "filled": filled, "bytes": cache.bytes}


def _configuration(case: Case, *, images: int, precision: str, folder: Path) -> DictConfig:
    """Return the run of a case on generated images."""
    counts = {"train": images, "val": 1, "test": 1}
    if case.task == "detection":
        register_detection()
        write_sample(folder / "data", images=counts, size=480)
        inputs = ["data=coco", "recipe=finetune"]
    else:
        register_segmentation()
        write_pictures(folder / "data", images={"train": max(images, 6)}, size=256)
        inputs = ["data=folder", "input.patch=[256,256]", f"input.patches={images}"]
    overrides = [
        *inputs,
        *case.overrides,
        f"data.root={folder / 'data'}",
        "backbone.weights=random",
        "backbone.norm=frozen_batch",
        "backbone.freeze=4",
        "cache.views=1",
        f"recipe.batch_size={case.batch}",
        f"trainer.precision={precision}",
    ]
    if case.task == "segmentation":
        overrides.append("model.norm=batch")
    with initialize_config_dir(str(CONFIGS / case.task), version_base="1.3"):
        return compose(case.task, overrides=overrides)


def _parts(task: str, cfg: DictConfig) -> tuple[Callable[[Any], None], Any]:
    """Return a training step and the data module."""
    parts: Any = {"detection": detection, "segmentation": segmentation}[task].assemble(cfg)
    network, precision = parts.module.network.train(), parts.where.precision.value
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9)

    def loss_of(batch: Any) -> Tensor:  # noqa: ANN401 (the task's)
        if isinstance(batch, FrozenBatch):
            return sum(losses_from(network, batch).values())
        if task == "detection":
            return sum(network([image.float() / 255 for image in batch[0]], batch[1]).values())
        if isinstance(batch, FrozenPatches):
            return parts.module.loss(logits_from(network, batch), batch.labels)
        images, labels = batch
        logits = network(images.contiguous(memory_format=torch.channels_last))
        return parts.module.loss(logits, labels)

    def step(batch: Any) -> None:  # noqa: ANN401 (the task's)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = loss_of(batch)
        loss.backward()
        optimizer.step()

    return step, parts.data


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each way")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args(arguments)
    print(f"{describe()['processor']}, {prepare_cpu(0)}, {options.images} images")
    print(
        "| network | uncached s | memory s | disk s | speed-up | per image and view | filling s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, case in CASES.items():
        if options.only not in name:
            continue
        folder = Path(tempfile.mkdtemp(prefix="keel-"))
        try:
            found = measure(
                case,
                images=options.images,
                repeats=options.repeats,
                precision=options.precision,
                folder=folder,
            )
        finally:
            shutil.rmtree(folder)
        medians = {way: statistics.median(values) for way, values in found["seconds"].items()}
        ratios = [
            a / b
            for a, b in zip(found["seconds"]["uncached"], found["seconds"]["memory"], strict=True)
        ]
        print(
            f"| {name} | {medians['uncached']:.2f} | {medians['memory']:.2f} | "
            f"{medians['disk']:.2f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | "
            f"{found['bytes'] / options.images / 1e6:.1f} MB | {found['filled']['memory']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
