"""How a network is drawn, by name."""

import math
from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from backbones.choose import choose
from backbones.layers.deform import DeformConv2d
from backbones.resnet.blocks import ResidualBlock
from backbones.resnet.preact import PreActBlock


def _as_drawn(_weight: Tensor) -> None:
    """Leave the residual branch as it is."""


def _zero(weight: Tensor) -> None:
    nn.init.zeros_(weight)


def _scaled(weight: Tensor) -> None:
    weight.data.mul_(math.sqrt(0.5))


INITS: Final[dict[str, Callable[[Tensor], None]]] = {
    "he": _as_drawn,
    "zero_last": _zero,
    "scaled": _scaled,
}
"""What is done to the last scale of every residual branch once all convolutions are drawn."""


MOST_BLOCKS: Final = 200
"""Up to so many ``he`` leaves residual branches as they are drawn.

In eval mode fresh norms do nothing, and every block doubles the variance: after the 333 blocks of
`resnetv2_1001_cifar` float32 is at its end (c2 reached 2e14, c3 2e29, c4 was NaN).
"""


def initialise(network: nn.Module, init: str) -> None:
    """Draw a network's convolutions, and set what every residual branch begins with.

    Convolutions are normal with the variance 2 / fan-out. The last scale of a residual branch is
    its last norm's weight, or the last convolution's where no norm with one follows: ``he`` leaves
    it, ``zero_last`` sets it to 0, so that a block starts as its shortcut, and ``scaled`` divides
    it by sqrt(2), so that the variance of the sum does not double with every block. In a network of
    L blocks, more than `MOST_BLOCKS`, ``he`` divides it by sqrt(L): its features stay below 10.

    Sources: He et al., arXiv:1502.01852, equation 14; Goyal et al., arXiv:1706.02677, section 5.1
    (``zero_last``); Hayou et al., arXiv:2010.12859 (division by sqrt(L)).

    Args:
        network: Changed in place.
        init: A key of `INITS`.

    Raises:
        ValueError: If ``init`` is unknown.
    """
    set_scale = choose(INITS, init, what="initialisation")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    blocks = [m for m in network.modules() if isinstance(m, ResidualBlock | PreActBlock)]
    for module in network.modules():
        if isinstance(module, DeformConv2d):
            module.start_undeformed()
    for block in blocks:
        scale = _last_scale(*block.last)
        set_scale(scale)
        if init == "he" and len(blocks) > MOST_BLOCKS:
            scale.data.div_(math.sqrt(len(blocks)))


def _last_scale(conv: nn.Conv2d, norm: nn.Module | None) -> Tensor:
    """Return the parameter by which a residual branch ends; a frozen norm has none."""
    scale = getattr(norm, "weight", None)
    return scale if isinstance(scale, nn.Parameter) else conv.weight
