"""The names of a backbone's stages."""

from typing import Final

STAGES: Final = ("stem", "c2", "c3", "c4", "c5", "c6")
"""From the image inwards, by stride; ours end at c5 or before, some of timm's have a c6."""

HEAD: Final = "head"  # everything that is not of the backbone's stages


def stages_text(count: int) -> str:
    """Return the names of the first ``count`` stages, for a banner; ``nothing`` for 0."""
    return ", ".join(STAGES[:count]) or "nothing"
