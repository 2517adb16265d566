"""Random initialisations, by name."""

import math
from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from backbones.choose import choose
from backbones.layers.deform import DeformConv2d
from backbones.resnet.blocks import Block

INITS: Final[dict[str, Callable[[Tensor], object]]] = {
    "he": lambda _scale: None,
    "zero_last": nn.init.zeros_,
    "scaled": lambda scale: scale.data.mul_(math.sqrt(0.5)),
}
"""What is done to the last scale of every residual branch once all convolutions are drawn."""


MOST_BLOCKS: Final = 200
"""In networks of more blocks, ``he`` scales the residual branches down.

In eval mode new norms change nothing, and every block doubles the variance: `resnetv2_1001_cifar`,
which has 333 blocks, overflowed float32 (c2 reached 2e14, c3 2e29, c4 was NaN).
"""


def initialise(network: nn.Module, init: str) -> None:
    """Draw the convolutions of a network, and set the scale of its residual branches.

    Convolutions are normal with the variance 2 / fan-out. The last scale of a residual branch is
    the weight of its last norm, or of its last convolution where that norm has none: ``he`` leaves
    it, ``zero_last`` sets it to 0, so that a block starts as its shortcut, and ``scaled`` divides
    it by sqrt(2), so that the variance does not double with every block. In a network of L blocks,
    more than `MOST_BLOCKS`, ``he`` divides it by sqrt(L): its features stay below 10.

    Sources: He et al., arXiv:1502.01852, equation 14; Goyal et al., arXiv:1706.02677, section 5.1
    (``zero_last``); Hayou et al., arXiv:2010.12859 (division by sqrt(L)).
    """
    set_scale = choose(INITS, init, what="initialisation")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if isinstance(module, DeformConv2d):
            module.start_undeformed()
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for block in blocks:
        scale = _last_scale(block)
        set_scale(scale)
        if init == "he" and len(blocks) > MOST_BLOCKS:
            scale.data.div_(math.sqrt(len(blocks)))


def _last_scale(block: Block) -> Tensor:
    """Return the parameter that scales a residual branch; a frozen norm has none."""
    modules = [getattr(block, name) for name in block.ends_with]
    weights = [getattr(module, "weight", None) for module in modules]
    return next(weight for weight in reversed(weights) if isinstance(weight, nn.Parameter))
