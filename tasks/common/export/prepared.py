"""A network that takes images as they are stored, or prepared by whoever calls it."""

from typing import Any

import torch
from torch import Tensor, nn

from backbones.options import Conventions


class Prepared(nn.Module):
    """A network with the normalisation of its images before it, if ``inside``.

    Takes (N, H, W, C) of 8 bits if ``inside``, else (N, C, H, W) normalised. Returns what the
    network does; of a dict its values, in order.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, known: Conventions, *, inside: bool) -> None:
        super().__init__()
        self.network = network
        self.inside = inside
        for name, numbers in (("mean", known.mean), ("std", known.std)):
            self.register_buffer(name, torch.tensor(numbers).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401 (of any network)
        """Return a tensor, or several."""
        if self.inside:
            images = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        found = self.network(images)
        return tuple(found.values()) if isinstance(found, dict) else found
