"""Normalisation layers by name.

A norm is one line of `NORMS`. Blocks, the FPN and the U-Net decoder take a `NormFactory` and never
test for a norm's name.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, cast

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from backbones.choose import choose

NormFactory = Callable[[int], nn.Module]
"""Takes a channel count C; the module it returns maps (N, C, H, W) to the same shape."""


def _group_norm(channels: int) -> nn.GroupNorm:
    # 32 groups: the default in arXiv:1803.08494; narrow layers take the most that divides.
    groups = next(count for count in (32, 16, 8, 4, 2, 1) if channels % count == 0)
    return nn.GroupNorm(num_groups=groups, num_channels=channels)


NORMS: Final[dict[str, NormFactory]] = {
    "batch": nn.BatchNorm2d,
    "frozen_batch": FrozenBatchNorm2d,
    "sync_batch": nn.SyncBatchNorm,
    "group": _group_norm,
    # PyTorch's default is affine=False: no weight to initialise, and none to load.
    "instance": partial(nn.InstanceNorm2d, affine=True),
    # "GN becomes LN if we set the group number as G = 1", arXiv:1803.08494, section 3
    "layer2d": partial(nn.GroupNorm, 1),
    "none": nn.Identity,  # ignores its arguments
}


def norm_factory(name: str) -> NormFactory:
    """Return the factory of a norm, a key of `NORMS`; any other name is a ValueError.

    >>> norm_factory("instance")(8).weight.shape
    torch.Size([8])
    """
    return choose(NORMS, name, what="norm")


_FORWARDS: Final = (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward, FrozenBatchNorm2d.forward)


def fixed_affine(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return ``(scale, shift)``, each (C,), of a batch norm with fixed statistics, else None.

    Such a norm is ``x * scale + shift``: a `FrozenBatchNorm2d` always, any other batch norm in
    eval mode. Gradients reach the norm's own weight and bias. None for a subclass with a forward of
    its own.
    """
    if type(norm).forward not in _FORWARDS or "forward" in vars(norm):
        return None
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        if norm.training or norm.running_mean is None or not norm.affine:
            return None
    elif not isinstance(norm, FrozenBatchNorm2d):
        return None
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = cast("Tensor", norm.weight) * (variance + cast("float", norm.eps)).rsqrt()
    return scale, cast("Tensor", norm.bias) - mean * scale
