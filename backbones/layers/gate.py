"""How a residual joins its shortcut: added, or scaled by a gate that depends on the input."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, fx, nn

from backbones.errors import UserError

Branch = Callable[[Tensor], Tensor]
_OPEN: Final = 0.5
_REDUCTION: Final = 16


class Add(nn.Module):
    """``skip + branch(x)``."""

    def forward(self, branch: Branch, x: Tensor, skip: Tensor) -> Tensor:
        """Return the sum; ``branch`` maps ``x``, (N, C, H, W), to the shape of ``skip``."""
        return skip + branch(x)


class Openness(nn.Sequential):
    """One number in (0, 1) per sample, from the means of its channels: (N, 1, 1, 1).

    It starts at 0.88, so that a network begins nearly as without gates.
    """

    def __init__(self, channels: int) -> None:
        hidden = max(4, channels // _REDUCTION)
        first, last = nn.Linear(channels, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 2.0)
        super().__init__(first, nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the factor of the residual."""
        share: Tensor = super().forward(x.mean((2, 3))).sigmoid()  # type: ignore[no-untyped-call]
        return share[..., None, None]


class Gate(nn.Module):
    """``skip + g * branch(x)``, where ``g`` is an `Openness` of ``x``.

    In training the gate is soft. In eval mode it is hard: a sample whose ``g`` is below 0.5 skips
    the block, which is then not computed for it. While a graph is captured (`torch.export`,
    `torch.compile`, torch.fx, tracing) the branch is computed for all samples and dropped for those
    that skip: the same values without the saving, because a captured graph cannot depend on data.

    Source: the adaptive inference graphs of Veit and Belongie, arXiv:1711.11503, with a soft gate
    in place of the sampled one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.openness = Openness(channels)

    def forward(self, branch: Branch, x: Tensor, skip: Tensor) -> Tensor:
        """Return the gated sum; arguments as in `Add`."""
        share: Tensor = self.openness(x)
        if self.training:
            return skip + share * branch(x)
        share = torch.where(share >= _OPEN, share, 0.0)
        if _captured(x):
            return skip + share * branch(x)
        runs = share.flatten().nonzero().flatten()
        if len(runs) == 0:
            return skip.clone()  # the block rectifies what it gets in place
        if len(runs) == len(x):
            return skip + share * branch(x)
        residual = share[runs] * branch(x[runs])
        return skip.index_add(0, runs, residual.to(skip.dtype))


def _captured(x: Tensor) -> bool:
    compiled = torch.compiler.is_compiling()
    return compiled or isinstance(x, fx.Proxy) or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]


GATES: Final[dict[str, Callable[[int], nn.Module]]] = {"none": lambda _: Add(), "input": Gate}
"""By name; each takes the channels of the block's input."""


class GateRecord:
    """The outputs of a network's gates: ``shares``, (N, 1, 1, 1) per gate, in order of the call."""

    def __init__(self) -> None:
        self.shares: list[Tensor] = []

    def penalty(self, target: float) -> Tensor:
        """Return the mean over the gates of ``(mean share - target) ** 2``, a loss in float32.

        ``target`` is from 0 to 1, and a gate must have run; else ValueError. Source: the target
        rate loss, arXiv:1711.11503, equation 4.
        """
        if not 0 <= target <= 1:
            raise UserError(f"the target of the gates takes a number from 0 to 1, got {target!r}.")
        if not self.shares:
            raise UserError(
                "no gate has run: use a backbone with gates, such as dynamic_resnet50, and run it "
                "within record_gates."
            )
        return torch.stack([(s.float().mean() - target).square() for s in self.shares]).mean()


@contextmanager
def record_gates(network: nn.Module) -> Iterator[GateRecord]:
    """Record the outputs of all `Gate` modules of a network while the context lasts.

    >>> from backbones import build_backbone
    >>> net = build_backbone("dynamic_resnet18").train()
    >>> with record_gates(net) as gates:
    ...     features = net(torch.zeros(2, 3, 64, 64))
    >>> len(gates.shares), round(gates.penalty(target=0.5).item(), 3)
    (8, 0.145)
    """
    record = GateRecord()

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], share: Tensor) -> None:
        record.shares.append(share)

    gates = [module for module in network.modules() if isinstance(module, Openness)]
    hooks = [gate.register_forward_hook(keep) for gate in gates]
    try:
        yield record
    finally:
        for hook in hooks:
            hook.remove()
