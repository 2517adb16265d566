"""Which classes of a run a trained network has learnt, by name."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Which classes of a run a trained network has learnt.

    Attributes:
        kept: The run's classes that the network has.
        fresh: The run's classes that the network lacks; their rows of the last layer are random.
        left: The network's classes that the run lacks.
        pairs: Of each class in ``kept``: its index in the run and in the network.
    """

    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    left: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """Return the text for the banner."""
        parts = (("kept", self.kept), ("drawn anew", self.fresh), ("left out", self.left))
        return "classes " + "; ".join(f"{what}: {', '.join(n)}" for what, n in parts if n)


def matched(run: Sequence[str], network: Sequence[str]) -> Classes:
    """Return which classes of a run and of a trained network have the same names."""
    pairs = tuple((i, network.index(name)) for i, name in enumerate(run) if name in network)
    return Classes(
        kept=tuple(run[i] for i, _ in pairs),
        fresh=tuple(name for name in run if name not in network),
        left=tuple(name for name in network if name not in run),
        pairs=pairs,
    )
