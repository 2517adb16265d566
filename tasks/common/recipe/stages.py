"""The stages of a backbone by name, and which tensor is of which."""

from collections.abc import Iterator
from typing import Final

from torch import nn

from backbones import Backbone

STAGES: Final = ("stem", "c2", "c3", "c4", "c5", "c6")
"""From the image inwards, by stride; ours end at c5 or before, some of timm's have a c6."""

HEAD: Final = "head"
"""Everything that is not of the backbone's stages."""


def stages_text(count: int) -> str:
    """Return the names of the first stages, for a banner.

    Args:
        count: How many; 0 is ``nothing``.
    """
    return ", ".join(STAGES[:count]) or "nothing"


def stage_modules(backbone: Backbone) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module of every stage, those inside it included, with the stage's name."""
    for name, stage in zip(STAGES, backbone.stages(), strict=False):
        for module in stage:
            for inner in module.modules():
                yield name, inner


def stage_of_tensors(backbone: Backbone) -> dict[int, str]:
    """Return the stage's name by the ``id`` of each of its parameters and buffers."""
    return {
        id(tensor): name
        for name, module in stage_modules(backbone)
        for tensor in (
            *module.parameters(recurse=False),
            *module.buffers(recurse=False),
        )
    }
