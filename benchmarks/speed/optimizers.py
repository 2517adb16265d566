"""A step of the optimiser: torch's default beside the fused kernel that Keel takes."""

from functools import partial
from typing import Any, Final

import torch

from backbones import build_backbone
from benchmarks.speed.clock import Comparison, Make
from benchmarks.speed.steps import device

_OPTIMIZERS: Final[dict[str, Any]] = {
    "SGD": partial(torch.optim.SGD, lr=1e-6, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=1e-6),
}


class OptimizerStep:
    """A step over the parameters of a backbone, with gradients of noise.

    Args:
        optimizer: A key of the optimisers.
        name: Of the backbone.
        fused: Whether its kernel is.
    """

    def __init__(self, optimizer: str, name: str, *, fused: bool) -> None:
        self.network = build_backbone(name).to(device())
        parameters = list(self.network.parameters())
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        # Without a word torch takes the kernel over lists on a GPU, a loop on a CPU.
        self.optimizer = _OPTIMIZERS[optimizer](parameters, fused=fused or None)

    def __call__(self) -> None:
        """Do it once."""
        self.optimizer.step()


def comparison(name: str) -> Comparison:
    """Compare both optimisers, each with torch's default."""
    systems: dict[str, Make] = {}
    base: dict[str, str] = {}
    for optimizer in _OPTIMIZERS:
        for kind, fused in (("torch's default", False), ("fused", True)):
            systems[f"{optimizer}, {kind}"] = partial(OptimizerStep, optimizer, name, fused=fused)
            base[f"{optimizer}, {kind}"] = f"{optimizer}, torch's default"
    return Comparison(
        title=f"A step of the optimiser, {name}", systems=systems, base=base, memory=False
    )
