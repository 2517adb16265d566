"""The small problem of the studies: which way do the stripes run?"""

import math
from typing import Final

import torch
from torch import Tensor

CLASSES: Final = 10
SIZE: Final = 12
"""Pixels along each side of an image."""


def gratings(
    count: int, *, generator: torch.Generator, noise: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Draw images of stripes, and the class of their direction.

    A sine wave of random phase and wavelength (4 to 10 pixels), in one of ten directions 18
    degrees apart, under Gaussian noise. Every batch is new, so that a training loss is a test loss
    as well and no network can do worse by overfitting.

    Args:
        count: Images N.
        generator: What is drawn from.
        noise: Standard deviation of the noise; the wave has an amplitude of 1.

    Returns:
        Images (N, 1, 12, 12) and classes (N,), 0 to 9.
    """
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    angle = (math.pi / CLASSES * labels)[:, None, None]
    phase, frequency = torch.rand(2, count, 1, 1, generator=generator)
    frequency = 2 * math.pi / (10 - 6 * frequency)
    at = torch.arange(SIZE) - (SIZE - 1) / 2
    along = at[None, :] * angle.cos() + at[:, None] * angle.sin()
    waves = torch.sin(frequency * along + 2 * math.pi * phase)
    images = waves + noise * torch.randn(count, SIZE, SIZE, generator=generator)
    return images[:, None], labels
