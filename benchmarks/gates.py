"""What hard gates save: the forward time of a gated network at batch 1, by blocks that are skipped.

    OMP_NUM_THREADS=1 python benchmarks/gates.py --backbone dynamic_resnet50

The gates are set by hand, spread evenly over the blocks; the networks are measured in turn.
"""

import argparse
import statistics
import time
from functools import partial

import torch
from torch import nn

from backbones import Backbone, build_backbone
from backbones.layers.gate import Gate
from tasks.common.machine.machine import describe
from tasks.common.machine.threads import prepare_cpu


def with_gates(name: str, *, skipped: float) -> Backbone:
    """Return a network in eval mode of which a share of the blocks is skipped, evenly spread."""
    network = build_backbone(name).eval()
    gates = [module for module in network.modules() if isinstance(module, Gate)]
    for index, gate in enumerate(gates):
        skips = int((index + 1) * skipped) > int(index * skipped)
        last = gate.openness[2]
        if isinstance(last, nn.Linear):
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, -9.0 if skips else 9.0)
    return network


@torch.no_grad()
def forward(network: Backbone, image: torch.Tensor) -> None:
    """Compute the features of one image."""
    network(image)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="dynamic_resnet50")
    parser.add_argument("--size", type=int, default=224, help="height and width of the image")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    cpu = prepare_cpu(0)
    image = torch.rand(1, 3, options.size, options.size)
    plain = build_backbone(options.backbone.removeprefix("dynamic_")).eval()
    calls = {"no gates": partial(forward, plain, image)}
    for share in (0.0, 0.25, 0.5, 0.75):
        network = with_gates(options.backbone, skipped=share)
        calls[f"{share:.0%} skipped"] = partial(forward, network, image)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.repeats + 2):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[2:]) for name, values in seconds.items()}
    print(f"{options.backbone}, batch 1, side {options.size}; {describe()['processor']}, {cpu}")
    for name, median in medians.items():
        saved = 1 - median / medians["0% skipped"]
        fastest = min(seconds[name][2:])
        print(f"{name:<12} {1e3 * median:7.1f} ms (fastest {1e3 * fastest:.1f})  saved {saved:.1%}")


if __name__ == "__main__":
    main()
