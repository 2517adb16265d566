"""A step of the optimiser: torch's default beside the fused kernel that Keel takes."""

from functools import partial
from itertools import product
from typing import Any, Final

import torch

from backbones import build_backbone
from benchmarks.harness import Comparison, device

OPTIMIZERS: Final[dict[str, Any]] = {
    "SGD": partial(torch.optim.SGD, lr=1e-6, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=1e-6),
}


class OptimizerStep:
    """A step of one of `OPTIMIZERS` over the parameters of a backbone, with random gradients."""

    def __init__(self, optimizer: str, name: str, *, fused: bool) -> None:
        self.network = build_backbone(name).to(device())
        parameters = list(self.network.parameters())
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        # With None torch takes the kernel over lists on a GPU, a loop on a CPU.
        self.optimizer = OPTIMIZERS[optimizer](parameters, fused=fused or None)

    def __call__(self) -> None:
        """Do it once."""
        self.optimizer.step()


def comparison(*, small: bool) -> Comparison:
    """Compare both optimisers, each with torch's default."""
    backbone = "resnet18" if small else "resnet50"
    systems, base = {}, {}
    for name, kind in product(OPTIMIZERS, ("torch's default", "fused")):
        systems[f"{name}, {kind}"] = partial(OptimizerStep, name, backbone, fused=kind == "fused")
        base[f"{name}, {kind}"] = f"{name}, torch's default"
    title = f"A step of the optimiser, {backbone}"
    return Comparison(title=title, systems=systems, base=base, memory=False)
