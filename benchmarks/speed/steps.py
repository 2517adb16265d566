"""One training step, and one inference, of any network under a precision."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def device() -> torch.device:
    """Return what is measured on: the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TrainingStep:
    """Forward, backward, and a step of the optimiser.

    Args:
        network: What is trained; moved to `device`.
        loss: Of the network, what is minimised.
        optimizer: Of the network's parameters.
        low: Whether to compute under bfloat16 autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[Any], Tensor],
        optimizer: Optimizer,
        low: bool,
    ) -> None:
        self.network = network.train()
        self.loss = loss
        self.optimizer = optimizer
        self.low = low

    def __call__(self) -> None:
        """Do it once."""
        with torch.autocast(device().type, torch.bfloat16, enabled=self.low):
            loss = self.loss(self.network)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class Inference:
    """A forward pass in eval mode.

    Args:
        network: In any mode; moved to `device`.
        images: What it is called with.
        low: Whether to compute under bfloat16 autocast.
    """

    def __init__(self, network: nn.Module, images: Any, *, low: bool) -> None:  # noqa: ANN401 (a list or a batch)
        self.network = network.eval()
        self.images = images
        self.low = low

    @torch.inference_mode()
    def __call__(self) -> None:
        """Do it once."""
        with torch.autocast(device().type, torch.bfloat16, enabled=self.low):
            self.network(self.images)
