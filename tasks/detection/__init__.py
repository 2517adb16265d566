"""Object detection with Faster R-CNN.

What is public is imported, with torch, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.detection.scores.trained import Detections, TrainedDetector, load_detector
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("tasks.detection.scores.trained"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["Detections", "TrainedDetector", "load_detector"]
