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
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.optim import build_optimizer
from tasks.common.recipe.recipe import Recipe

FREEZES: Final = (0, 2, 4)  # how many stages are frozen in what is compared


class TrainingStep:
    """Forward, backward, and a step of the optimiser; ``loss`` takes the network."""

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[Any], Tensor],
        optimizer: Optimizer,
        bfloat16: bool,
    ) -> None:
        self.network = network.train()
        self.loss, self.optimizer, self.bfloat16 = loss, optimizer, bfloat16

    def __call__(self) -> None:
        """Do it once."""
        with torch.autocast(device().type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.loss(self.network)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class Inference:
    """A forward pass of a list or batch of images in eval mode, as `TrainingStep`."""

    def __init__(self, network: nn.Module, images: Any, *, bfloat16: bool) -> None:  # noqa: ANN401
        self.network = network.eval()
        self.images, self.bfloat16 = images, bfloat16

    @torch.inference_mode()
    def __call__(self) -> None:
        """Do it once."""
        with torch.autocast(device().type, torch.bfloat16, enabled=self.bfloat16):
            self.network(self.images)


def keel_optimizer(network: nn.Module, backbone: Backbone, optimizer: str) -> Optimizer:
    """Return the optimiser that a run of Keel takes, with a rate that changes next to nothing."""
    recipe = Recipe(optimizer=optimizer, lr=1e-6)
    groups = parameter_groups(network, backbone, recipe=recipe, lr=recipe.lr)
    return build_optimizer(groups, recipe, precision="bf16-mixed")


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
