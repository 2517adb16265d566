"""Modules with hooks: their outputs may be kept, so they are neither skipped nor overwritten."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook


def watched(module: nn.Module) -> bool:
    """Return whether a call of this module runs hooks, its own or those on every module."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or _has_any_global_hook()  # type: ignore[no-untyped-call]
    )


class ReLU(nn.ReLU):
    """``max(x, 0)``, in place unless this module has a hook."""

    def __init__(self) -> None:
        super().__init__(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Rectify."""
        return F.relu(x, inplace=not watched(self))
