"""Speed beside torchvision, interleaved in one process: ``python scripts/benchmark.py``."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from backbones import build_backbone
from tasks.common.machine import describe, precision, prepare_cpu
from tasks.detection.model import DetectorOptions, build_detector

BOXES = 14  # per image, as in BCCD


def detectors(name: str, *, size: tuple[int, int], freeze: int) -> dict[str, FasterRCNN]:
    """Return torchvision's detector and ours, of the same architecture and weights."""
    theirs = FasterRCNN(
        resnet_fpn_backbone(
            backbone_name=name,
            weights=None,
            norm_layer=FrozenBatchNorm2d,
            trainable_layers=5 - freeze,
        ),
        num_classes=4,
        min_size=min(size),
        max_size=max(size),
    )
    backbone = build_backbone(name, weights="random", norm="frozen_batch", freeze=freeze)
    options = DetectorOptions(min_size=min(size), max_size=max(size))
    ours = build_detector(backbone, num_classes=3, options=options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return {"torchvision": theirs, "keel": ours.to(memory_format=torch.channels_last)}


def training_step(detector: FasterRCNN, *, batch: int, size: tuple[int, int], low: bool) -> None:
    """Run one step of SGD on random images."""
    height, width = size
    corners = torch.rand(batch, BOXES, 2) * torch.tensor([width * 0.8, height * 0.8])
    boxes = torch.cat([corners, corners + height * 0.15], dim=2)
    targets = [{"boxes": b, "labels": torch.ones(BOXES, dtype=torch.int64)} for b in boxes]
    images = list(torch.rand(batch, 3, height, width))
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        losses = detector.train()(images, targets)
    nn.Module.zero_grad(detector)
    sum(losses.values()).backward()
    optimizer.step()


@torch.no_grad()
def inference(detector: FasterRCNN, *, size: tuple[int, int], low: bool) -> None:
    """Detect in one random image."""
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        detector.eval()([torch.rand(3, *size)])


def interleaved(calls: Mapping[str, Callable[[], None]], *, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each call, measured in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in seconds.items()}


def rows(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield a row per task and system: median, fastest, slowest, and the ratio of medians."""
    size = (options.size[0], options.size[1])
    low = precision("auto", device="cpu").value == "bf16-mixed"
    pair = detectors(options.backbone, size=size, freeze=options.freeze)
    systems = {
        "torchvision, float32": (pair["torchvision"], False),
        "torchvision, Keel's precision": (pair["torchvision"], low),
        "Keel": (pair["keel"], low),
    }
    step = partial(training_step, batch=options.batch)
    tasks: dict[str, Callable[..., None]] = {"training step": step, "inference": inference}
    for task, run in tasks.items():
        calls = {
            system: partial(run, detector, size=size, low=how)
            for system, (detector, how) in systems.items()
        }
        seconds = interleaved(calls, repeats=options.repeats)
        medians = {system: statistics.median(values) for system, values in seconds.items()}
        base = next(iter(medians.values()))
        for system, values in seconds.items():
            figures = (medians[system], min(values), max(values))
            yield task, system, *(f"{f:.3f}" for f in figures), f"{base / medians[system]:.2f}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 448), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4, help="images per training step")
    parser.add_argument("--freeze", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cpu = prepare_cpu(0)
    table = Table(title=f"{describe()['processor']}, {cpu}", box=box.SIMPLE, title_justify="left")
    for column in ("task", "system", "median s", "fastest", "slowest", "speed-up"):
        table.add_column(column, no_wrap=True)
    for row in rows(options):
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
