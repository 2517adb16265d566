"""One training step and one inference of any network, and comparisons by frozen stages."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from backbones import Backbone
from benchmarks.harness import Comparison, Step, device
from tasks.common.machine.precision import autocast, precision
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.optim import build_optimizer
from tasks.common.recipe.recipe import Recipe

FREEZES: Final = (0, 2, 4)  # how many stages are frozen in what is compared


class TrainingStep:
    """Forward, backward, and a step of the optimiser; ``loss`` takes the network.

    ``tuned`` computes in the precision that a run of Keel takes on this machine, else in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[Any], Tensor],
        optimizer: Optimizer,
        tuned: bool,
    ) -> None:
        self.network = network.train()
        self.loss, self.optimizer = loss, optimizer
        self.autocast, self.note = arithmetic(network, tuned=tuned)
        self.round = 0
        half = self.autocast._enabled and self.autocast.fast_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device().type, enabled=half)

    def prepare(self) -> None:
        """Let every system draw the same random numbers in the same round."""
        torch.manual_seed(self.round)
        self.round += 1

    def __call__(self) -> None:
        """Do it once; a run frees the gradients of the last step first, too."""
        self.optimizer.zero_grad()
        with self.autocast:
            loss = self.loss(self.network)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()


class Inference:
    """A forward pass of a list or batch of images in eval mode, as `TrainingStep`."""

    def __init__(self, network: nn.Module, images: Any, *, tuned: bool) -> None:  # noqa: ANN401
        self.network = network.eval()
        self.images = images
        self.autocast, self.note = arithmetic(network, tuned=tuned)

    @torch.inference_mode()
    def __call__(self) -> None:
        """Do it once."""
        with self.autocast:
            self.network(self.images)


def arithmetic(network: nn.Module, *, tuned: bool) -> tuple[torch.autocast, str]:
    """Return the context that a network is to run in, and in words its precision and layout."""
    name = precision("auto" if tuned else "32", device=device().type).value
    kernels = [p for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    is_last = any(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    layout = "channels_last" if is_last else "contiguous"
    return autocast("auto" if tuned else "32", device=device().type), f"{name}, {layout}"


def keel_optimizer(network: nn.Module, backbone: Backbone, optimizer: str) -> Optimizer:
    """Return the optimiser that a run of Keel takes, with a rate that changes next to nothing."""
    recipe = Recipe(optimizer=optimizer, lr=1e-6)
    groups = parameter_groups(network, backbone, recipe=recipe, lr=recipe.lr)
    return build_optimizer(groups, recipe, precision=precision("auto", device=device().type).value)


def by_freeze(
    title: str,
    make: Callable[..., Step],
    systems: Sequence[str],
    *,
    freezes: Sequence[int] = FREEZES,
) -> Comparison:
    """Compare systems with the first one, or a single one with itself unfrozen, by freeze."""
    made, base = {}, {}
    for freeze, system in product(freezes, systems):
        key = f"{system}, freeze {freeze}"
        made[key] = partial(make, system, freeze=freeze)
        base[key] = f"{systems[0]}, freeze {freeze}"
    return Comparison(title=title, systems=made, base=base if len(systems) > 1 else {})
