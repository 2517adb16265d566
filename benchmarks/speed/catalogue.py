"""Everything that can be measured, by name."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from backbones.choose import choose
from benchmarks.speed import detection, evaluation, loading, optimizers, segmentation
from benchmarks.speed.clock import Comparison


def chosen(
    names: Sequence[str], *, small: bool, data: Path | None
) -> dict[str, Callable[[], Comparison]]:
    """Return what builds each comparison, by name.

    Args:
        names: What is wanted; everything when empty.
        small: Whether images are tiny: the figures mean nothing, but everything runs.
        data: The root of COCO-format data; the generated sample when None.

    Raises:
        ValueError: If a name is unknown.
    """
    known = _catalogue(small=small, data=data)
    return {name: choose(known, name, what="benchmark") for name in names or known}


def _catalogue(*, small: bool, data: Path | None) -> dict[str, Callable[[], Comparison]]:
    size, side = ((96, 128), 64) if small else ((480, 640), 256)
    batch = 2 if small else 8
    table: dict[str, Callable[[], Comparison]] = {}
    for name in ("resnet18", "resnet50"):
        table[f"detection-training-{name}"] = partial(detection.training, name, batch=2, size=size)
        table[f"detection-inference-{name}"] = partial(detection.inference, name, size=size)
        table[f"detection-freezing-{name}"] = partial(
            detection.freezing_steps, name, batch=2, size=size
        )
    if small or torch.cuda.is_available():  # on a CPU a step takes minutes
        large = (96, 128) if small else (800, 1333)
        table["detection-training-gpu"] = partial(
            detection.training, "resnet50", batch=batch * 2, size=large, freezes=(2,)
        )
    unet = {"batch": batch, "side": side}
    table["segmentation-training"] = partial(segmentation.training, "resnet34", **unet)
    table["segmentation-inference"] = partial(segmentation.inference, "resnet34", **unet)
    table["segmentation-freezing"] = partial(segmentation.freezing_steps, "resnet34", **unet)
    table["optimizer"] = partial(optimizers.comparison, "resnet18" if small else "resnet50")
    images = 50 if small else 5000
    table["evaluation"] = partial(evaluation.comparison, images=images, detections=100)
    table["loading"] = partial(loading.comparison, data)
    return table
