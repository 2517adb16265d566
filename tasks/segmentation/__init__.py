"""Segmentation: a ResNet-UNet on images and on slices of volumes.

What is public is imported, with torch, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.segmentation.scores.trained import Segmentation, TrainedSegmenter, load_segmenter
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("tasks.segmentation.scores.trained"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["Segmentation", "TrainedSegmenter", "load_segmenter"]
