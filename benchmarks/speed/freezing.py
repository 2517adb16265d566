"""Keel's training step by how many stages are frozen."""

from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.speed.clock import Comparison, Step

FREEZES: Final = (0, 2, 4)
"""How many stages are frozen in what is compared."""


def freezing(what: str, make: Callable[..., Step]) -> Comparison:
    """Compare training steps with frozen stages to that with none.

    Args:
        what: Is trained, on what.
        make: Builds Keel's training step; takes ``freeze``. Of a module, for a process to get it.
    """
    systems = {f"Keel, freeze {freeze}": partial(make, freeze=freeze) for freeze in FREEZES}
    return Comparison(
        title=f"Freezing, {what}",
        systems=systems,
        base=dict.fromkeys(systems, f"Keel, freeze {FREEZES[0]}"),
    )
