"""Modules that somebody watches, and how to treat them."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook


def watched(module: nn.Module) -> bool:
    """Whether a call of this module runs hooks, its own or those of every module.

    What it returns may be kept by a hook, so it must be neither left out nor changed in place.
    """
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or _has_any_global_hook()  # type: ignore[no-untyped-call]
    )


class ReLU(nn.ReLU):
    """``max(x, 0)``, in place unless a hook watches this module.

    Shape:
        - Input and output: any.
    """

    def __init__(self) -> None:
        super().__init__(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Rectify."""
        return F.relu(x, inplace=not watched(self))
