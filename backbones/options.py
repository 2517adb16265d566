"""What a backbone is built with, and what its weights expect of an image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backbones.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What weights expect of an image in [0, 1]: ``(image - mean) / std``, channels in RGB order.

    ``epsilon`` is added to the variance in every batch norm.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    epsilon: float = 1e-5

    def for_channels(self, count: int) -> "Conventions":
        """Return the conventions of an image with another number of channels.

        One channel: the mean over the channels. More: the channels repeated in order.

        >>> Conventions(mean=(0.2, 0.4), std=(0.1, 0.3)).for_channels(3).mean
        (0.2, 0.4, 0.2)
        """

        def fit(values: tuple[float, ...]) -> tuple[float, ...]:
            if count == 1:
                return (sum(values) / len(values),)
            return tuple(values[k % len(values)] for k in range(count))

        return replace(self, mean=fit(self.mean), std=fit(self.std))


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """What every registered builder takes; `build_backbone` explains each."""

    in_channels: int = 3
    norm: str = "batch"
    out_features: Sequence[str] | None = None
    output_stride: int = 32
    drop_path: float = 0.0
    init: str = "he"
    deformable: Sequence[str] = ()
    deformable_version: int = 2

    def __post_init__(self) -> None:
        """Refuse values that no backbone can be built with."""
        if not isinstance(self.in_channels, int) or self.in_channels < 1:
            raise UserError(f"in_channels takes an integer from 1, got {self.in_channels!r}.")
        if isinstance(self.deformable, str) or not isinstance(self.deformable, Sequence):
            raise UserError(
                f"deformable takes stages, such as ['c4', 'c5'], got {self.deformable!r}."
            )
