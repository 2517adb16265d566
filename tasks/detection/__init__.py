"""Object detection with Faster R-CNN.

What is public is imported, with torch, when it is first used.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.detection.scores.regions import Regions, read_regions
    from tasks.detection.scores.trained import Detections, TrainedDetector, load_detector
else:
    _REGIONS = ("Regions", "read_regions")

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "regions" if name in _REGIONS else "trained"
        return resolve_name(f"tasks.detection.scores.{module}:{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["Detections", "Regions", "TrainedDetector", "load_detector", "read_regions"]
