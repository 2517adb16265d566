"""Plain and residual networks that differ in the shortcut alone."""

from collections.abc import Callable
from typing import Final, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from backbones import norm_factory
from backbones.choose import choose

Kind = Literal["plain", "residual"]
KINDS: Final[tuple[Kind, ...]] = ("plain", "residual")


class PlainPair(nn.Module):
    """Two 3x3 convolutions, each with its norm and ReLU.

    Source: He et al., arXiv:1512.03385, section 3.3, the plain network.

    Args:
        width: Channels C of input and output.
        norm: A key of `backbones.NORMS`.

    Shape:
        - Input and output: (N, C, H, W).
    """

    def __init__(self, width: int, *, norm: str) -> None:
        super().__init__()
        make_norm = norm_factory(norm)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = make_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = make_norm(width)

    def branch(self, x: Tensor) -> Tensor:
        """Return what the last ReLU, or the addition, gets; the shape stays."""
        x = F.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.bn2(self.conv2(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        return F.relu(self.branch(x))


class ResidualPair(PlainPair):
    """The same layers with an identity around them: no parameter more, one addition."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions and add the input."""
        return F.relu(x + self.branch(x))


_PAIRS: Final[dict[str, type[PlainPair]]] = {"plain": PlainPair, "residual": ResidualPair}


def _he(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _leave(weight: Tensor) -> Tensor:
    return weight  # torch drew it already: uniform, a sixth of He's variance


INITIALISATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"he": _he, "torch": _leave}


def network(
    depth: int,
    kind: str,
    *,
    norm: str = "batch",
    initialisation: str = "he",
    width: int = 8,
    classes: int = 10,
) -> nn.Sequential:
    """Return a classifier of gray images with ``depth`` weight layers of one width.

    A convolution, pairs of convolutions, the mean over all positions, a linear layer. Nothing is
    strided and no shortcut is projected, so that both kinds have the same parameters.

    Args:
        depth: Convolutions and the linear layer together; even.
        kind: ``plain`` or ``residual``.
        norm: A key of `backbones.NORMS`, after every convolution.
        initialisation: ``he`` (arXiv:1502.01852, fan-in) or ``torch``, what torch draws by itself.
        width: Channels of every convolution.
        classes: Outputs of the linear layer.

    Raises:
        ValueError: If ``depth`` is odd or below 4, or a name is unknown.
    """
    if depth < 4 or depth % 2:
        raise ValueError(
            f"depth takes an even number of at least 4 (stem, pairs, linear layer), got {depth}."
        )
    pair = choose(_PAIRS, kind, what="kind")
    draw = choose(INITIALISATIONS, initialisation, what="initialisation")
    stem = [nn.Conv2d(1, width, 3, padding=1, bias=False), norm_factory(norm)(width), nn.ReLU()]
    pairs = [pair(width, norm=norm) for _ in range(depth // 2 - 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
    model = nn.Sequential(*stem, *pairs, *head)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            draw(module.weight)
    return model


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a model, first to last."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]
