"""A decision that a run made or was given."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """A value that a run chose by itself or that the user gave, and why."""

    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.value} ({self.reason})"
