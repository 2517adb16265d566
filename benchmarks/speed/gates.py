"""What hard gates save: the features of one image, by the share of the blocks that are skipped.

The gates are set by hand, spread evenly over the blocks. What skipping saves is 1 - 1 / speed-up.
"""

from functools import partial

import torch
from torch import nn

from backbones import build_backbone
from backbones.layers.gate import Gate
from benchmarks.harness import Comparison, device
from benchmarks.speed.steps import Inference


def forward(name: str, *, size: int, skipped: float = 0.0) -> Inference:
    """Return a network's forward pass, a share of its gated blocks skipped."""
    network = build_backbone(name)
    gates = [module for module in network.modules() if isinstance(module, Gate)]
    for index, gate in enumerate(gates):
        skips = int((index + 1) * skipped) > int(index * skipped)
        last = gate.openness[2]
        if isinstance(last, nn.Linear):
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, -9.0 if skips else 9.0)
    image = torch.rand(1, 3, size, size).to(device())
    return Inference(network.to(device()), image, tuned=False)


def comparison(*, small: bool) -> Comparison:
    """Compare shares of skipped blocks with none."""
    name, size = ("resnet18", 64) if small else ("resnet50", 224)
    systems = {f"{name}, no gates": partial(forward, name, size=size)}
    for share in (0.0, 0.25, 0.5, 0.75):
        gated = partial(forward, f"dynamic_{name}", size=size, skipped=share)
        systems[f"{share:.0%} skipped"] = gated
    title = f"Gates, dynamic_{name}, one image of {size}x{size}"
    base = dict.fromkeys(systems, "0% skipped")
    return Comparison(title=title, systems=systems, base=base, memory=False)
