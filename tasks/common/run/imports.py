"""How a script imports what it runs: in half the time that it would take otherwise."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_UNUSED: Final = ("matplotlib", "scipy", "transformers")


@contextmanager
def no_garbage() -> Iterator[None]:
    """Import within; Python does not look through what is imported for garbage, then or ever.

    It would, whenever there are some hundred new objects, and torch makes half a million. What is
    in use when this ends is kept until the process ends; so it is for a script's own process, and
    changes nothing where torch has been imported before.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # else triton, at the end, reports leaks
        gc.enable()


@contextmanager
def no_unused_metrics() -> Iterator[None]:
    """Import Lightning within; torchmetrics takes matplotlib, SciPy and transformers for missing.

    Lightning imports torchmetrics for the name of a class, and that imports whichever of these it
    finds, for plots and for metrics of texts and sounds; it has no setting for it, but asks
    `lightning_utilities` what there is. Only that answer is changed: all three can be imported, and
    only such plots and metrics are missing afterwards.
    """
    from unittest.mock import patch

    from lightning_utilities.core import imports

    has_package, is_met = imports.package_available, imports.RequirementCache.__bool__

    def has_used_package(package_name: str) -> bool:
        return package_name not in _UNUSED and bool(has_package(package_name))

    def is_met_and_used(self: imports.RequirementCache) -> bool:
        if (self.requirement or "").startswith(_UNUSED):
            self.available, self.message = False, f"{self.requirement} is left out by Keel"
        return bool(is_met(self))

    with (
        patch.object(imports, "package_available", has_used_package),
        patch.object(imports.RequirementCache, "__bool__", is_met_and_used),
    ):
        yield
