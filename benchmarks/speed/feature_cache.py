"""What the cache of frozen features saves: an epoch of training, loading included, by its storage.

Without the cache, images are decoded, augmented, resized and run through the frozen stages as a
batch. Generated images, random weights, stem to c4 frozen, no worker processes.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import torch

from benchmarks.harness import Comparison, device
from benchmarks.speed.epochs import scratch
from benchmarks.speed.steps import TrainingStep
from tasks.detection import assemble as detection
from tasks.detection.config import DETECTION
from tasks.detection.data.layouts.sample import write_sample
from tasks.segmentation import assemble as segmentation
from tasks.segmentation.config import SEGMENTATION
from tasks.segmentation.data.layouts.sample import write_sample as write_pictures

IMAGES: Final = 4  # of an epoch
SIZE: Final = ("model.min_size=480", "model.max_size=640")  # of a detector's images
FIXED: Final = ("backbone.weights=random", "backbone.norm=frozen_batch", "backbone.freeze=4")


class Epoch:
    """An epoch of training on generated images, at 480 pixels or in patches of 256x256."""

    def __init__(self, given: Sequence[str], *, detector: bool, small: bool) -> None:
        folder = scratch(self)
        folders = f"data.root={folder / 'data'}", f"feature_cache.folder={folder / 'cache'}"
        overrides = [*given, *FIXED, *folders]
        if small:
            overrides.append("backbone=resnet18")
        if detector:
            write_sample(folder / "data", images={"train": IMAGES, "val": 1, "test": 1}, size=480)
            overrides += [*SIZE, "data=coco", "recipe=finetune", "recipe.batch_size=2"]
            parts: Any = detection.assemble(DETECTION.compose(overrides))
        else:
            write_pictures(folder / "data", images={"train": 6}, size=256)
            overrides += ["data=folder", "input.patch=[256,256]", f"input.patches={IMAGES}"]
            overrides += ["model.norm=batch", "recipe.batch_size=4"]
            parts = segmentation.assemble(SEGMENTATION.compose(overrides))
        self.data = parts.data
        network = parts.module.to(device()).network
        trained = parts.module.parameters()
        optimizer = torch.optim.SGD([p for p in trained if p.requires_grad], lr=1e-6, momentum=0.9)
        self.batch: Any = None
        self.step = TrainingStep(
            network,
            loss=lambda _: torch.stack([*parts.module.losses(self.batch).values()]).sum(),
            optimizer=optimizer,
            tuned=True,
        )
        self.epoch, self.note = 0, self.step.note
        if parts.data.cache is not None:
            started = time.perf_counter()
            parts.data.cache.fill(workers=0)
            seconds, size = time.perf_counter() - started, parts.data.cache.bytes / IMAGES / 1e6
            self.note += f", {size:.1f} MB per image and view, filled in {seconds:.1f} s"
        self.loader = parts.data.train_dataloader()

    def prepare(self) -> None:
        """Let the next epoch draw its own order."""
        self.loader.batch_sampler.sampler.set_epoch(self.epoch)
        self.epoch += 1

    def __call__(self) -> None:
        """Train it."""
        for batch in self.loader:
            self.batch = self.data.transfer_batch_to_device(batch, device(), 0)
            self.step()


def comparison(title: str, overrides: Sequence[str], *, small: bool) -> Comparison:
    """Compare epochs without the cache, and with it in memory and in files."""
    caches = {
        "uncached": ("feature_cache.views=0",),
        "memory": ("feature_cache.views=1", "feature_cache.where=memory"),
        "disk": ("feature_cache.views=1", "feature_cache.where=disk"),
    }
    make = partial(Epoch, detector=title.startswith("Faster"), small=small)
    return Comparison(
        title=f"An epoch of {IMAGES} images, {title}",
        systems={name: partial(make, [*overrides, *how]) for name, how in caches.items()},
        memory=False,
    )
