"""The norms of timm's models: which there are, and how those of batches are fixed."""

from typing import Final

from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from backbones import Conventions

AS_BUILT: Final = ("batch",)
"""What ``norm`` takes where a model has no batch norms: its own norms stay as they are."""


def norms_of(net: nn.Module) -> tuple[str, ...]:
    """Return which names ``norm`` takes for a model."""
    return (*AS_BUILT, "frozen_batch") if _has_batch_norm(net) else AS_BUILT


def with_norm(net: nn.Module, norm: str, *, name: str) -> nn.Module:
    """Return the model with fixed batch statistics, or as it is.

    Args:
        net: Changed in place.
        norm: ``batch`` or ``frozen_batch``.
        name: timm's name, for messages.

    Raises:
        ValueError: If the norm is another one, or there are no batch norms to fix.
    """
    if norm == "batch":
        return net
    if norm != "frozen_batch":
        raise ValueError(
            f"timm/{name} comes with its own norms: norm takes 'batch', which leaves them as they "
            "are, or 'frozen_batch', which fixes its batch norms (in a run backbone.norm=auto "
            f"takes what it can); got {norm!r}."
        )
    if not _has_batch_norm(net):
        raise ValueError(
            f"timm/{name} has no batch norm that norm='frozen_batch' could fix; give norm='batch', "
            "which leaves its norms as they are (in a run backbone.norm=batch, or auto)."
        )
    frozen: nn.Module = freeze_batch_norm_2d(net)  # type: ignore[no-untyped-call]
    _freeze_others(frozen)
    return frozen


def epsilon_of(net: nn.Module) -> float:
    """Return the epsilon of the model's batch norms; ours where it has none."""
    found = (getattr(m, "eps", None) for m in net.modules() if hasattr(m, "running_var"))
    return next((float(eps) for eps in found if eps is not None), Conventions.epsilon)


def activating(net: nn.Module) -> tuple[str, ...]:
    """Return the names of batch norms that apply an activation as well."""
    norms = ((name, m) for name, m in net.named_modules() if hasattr(m, "running_var"))
    acts = ((name, getattr(m, "act", None)) for name, m in norms)
    return tuple(name for name, act in acts if act is not None and type(act) is not nn.Identity)


class FrozenBatchNorm1d(FrozenBatchNorm2d):  # type: ignore[misc]
    """torchvision's, for tokens.

    Args:
        num_features: Channels C.
        eps: Added to the variance.

    Shape:
        - Input and output: (N, C) or (N, C, L).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the statistics there are."""
        shape = (-1, *(1,) * (x.ndim - 2))
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        out: Tensor = x * scale.view(shape) + shift.view(shape)
        return out


def _has_batch_norm(net: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())


def _freeze_others(net: nn.Module) -> None:
    """Fix the batch norms of tokens (LevIT, NextViT), which timm's function leaves as they are."""
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                fixed = FrozenBatchNorm1d(child.num_features, eps=child.eps)
                fixed.load_state_dict(child.state_dict())
                module.register_module(name, fixed)
