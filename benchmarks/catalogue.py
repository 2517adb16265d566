"""Every benchmark by name. Importing this imports no framework: ``--help`` lists the names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import filter as matching
from pkgutil import resolve_name
from typing import Any, Final

from backbones.choose import choose


@dataclass(frozen=True)
class Entry:
    """A benchmark."""

    what: str  # what it compares, for the list of names
    place: str  # the function that builds its `Comparison`, or prints scores
    options: Mapping[str, Any] = field(default_factory=dict)  # what the function is called with
    is_long: bool = False  # whether a step takes minutes on a CPU: only by name there
    takes_data: bool = False  # whether ``--data`` is for it

    def load(self) -> Callable[..., Any]:
        """Return the function."""
        function: Callable[..., Any] = resolve_name(f"benchmarks.{self.place}")
        return function


_NARROW: Final = ("backbone=resnet101", "model.channels=[64,48,32,16,16]")
# By name, the title and the overrides of a task's configuration.
_FEATURE_CACHE: Final[dict[str, tuple[str, ...]]] = {
    "frcnn-r50": ("Faster R-CNN, R50, FPN on c2-c5", "backbone=resnet50", "model=faster_rcnn"),
    "frcnn-r50-small": ("Faster R-CNN, R50, model=small", "backbone=resnet50", "model=small"),
    "frcnn-r101-small": ("Faster R-CNN, R101, model=small", "backbone=resnet101", "model=small"),
    "unet-r34": ("U-Net, R34", "backbone=resnet34"),
    "unet-r50": ("U-Net, R50", "backbone=resnet50"),
    "unet-r101": ("U-Net, R101", "backbone=resnet101"),
    "unet-r101-narrow": ("U-Net, R101, narrow decoder", *_NARROW),
    "unet-r101-narrow-strong": ("U-Net, R101, narrow, augment=strong", *_NARROW, "augment=strong"),
}

SPEED: Final[dict[str, Entry]] = {
    **{
        f"detection-{kind}-{name}": Entry(
            f"Faster R-CNN {name}-FPN, {kind}", f"speed.detection:{kind}", {"name": name}
        )
        for name in ("resnet18", "resnet50")
        for kind in ("training", "inference", "freezing")
    },
    "detection-cheaper-resnet50": Entry(
        "a light head, frozen stages and grad_checkpointing, resnet50-FPN",
        "speed.detection:cheaper",
        {"name": "resnet50"},
    ),
    "detection-training-gpu": Entry(
        "Faster R-CNN resnet50-FPN, training at 800x1333, batch 16",
        "speed.detection:training_gpu",
        is_long=True,
    ),
    **{
        f"segmentation-{kind}": Entry(f"U-Net resnet34, {kind}", f"speed.segmentation:{kind}")
        for kind in ("training", "inference", "freezing")
    },
    "convolutions": Entry(
        "convolutions in both layouts, and the CPU's peak", "speed.convolutions:comparison"
    ),
    "optimizer": Entry("fused SGD and AdamW beside torch's default", "speed.optimizers:comparison"),
    "evaluation": Entry("COCO evaluation beside pycocotools", "speed.evaluation:comparison"),
    "loading": Entry(
        "loading an epoch beside torchvision's reference",
        "speed.loading:comparison",
        takes_data=True,
    ),
    **{
        f"epoch-detection-{name}": Entry(
            f"a whole epoch, Faster R-CNN {name}-FPN, beside torchvision's reference",
            "speed.epoch_detection:comparison",
            {"name": name},
            is_long=True,
            takes_data=True,
        )
        for name in ("resnet18", "resnet50")
    },
    "epoch-segmentation": Entry(
        "a whole epoch, U-Net resnet34, beside smp's documented loop",
        "speed.epoch_segmentation:comparison",
        is_long=True,
        takes_data=True,
    ),
    "inference-batches": Entry(
        "detector and U-Net by batch size", "speed.batches:comparison", is_long=True
    ),
    "inference-batches-compiled": Entry(
        "the same, with the backbone compiled and without",
        "speed.batches:comparison",
        {"compiled": True},
        is_long=True,
    ),
    "gates": Entry("what skipping blocks saves, dynamic_resnet50", "speed.gates:comparison"),
    **{
        f"feature-cache-{key}": Entry(
            f"the cache of frozen features: {title}",
            "speed.feature_cache:comparison",
            {"title": title, "overrides": overrides},
        )
        for key, (title, *overrides) in _FEATURE_CACHE.items()
    },
}

SCORES: Final[dict[str, Entry]] = {
    "scores-smp-unet": Entry(
        "a run with smp.Unet in place of Keel's network; takes train_seg.py's options",
        "scores.smp_unet:main",
    ),
    "scores-plain-path": Entry(
        "a run without the fast path: det or seg, then the options of the training script",
        "scores.plain_path:main",
    ),
    "scores-inference-ap": Entry(
        "a detector's AP in Keel and in torchvision: CHECKPOINT ANNOTATIONS IMAGES",
        "scores.inference_ap:main",
    ),
    "scores-intervals": Entry(
        "how often intervals of scores hold the truth, and equal systems are told apart",
        "scores.intervals:main",
    ),
    "scores-exports": Entry(
        "an ONNX file beside the network that it is of, results and speed: RUN",
        "scores.exports:main",
    ),
}


def chosen(names: Sequence[str], *, long: bool) -> dict[str, Entry]:
    """Return the speed benchmarks of names or patterns; of none all, long ones with ``long``."""
    if not names:
        return {name: entry for name, entry in SPEED.items() if long or not entry.is_long}
    found = [known for name in names for known in matching(SPEED, name) or [name]]
    return {name: choose(SPEED, name, what="benchmark") for name in found}
