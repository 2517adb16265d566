"""The norms of timm's models: which there are, and how batch statistics are fixed."""

from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from backbones import Conventions, UserError


def norms_of(net: nn.Module) -> tuple[str, ...]:
    """Return which names ``norm`` takes for a model; ``batch`` stands for the model's own norms."""
    batch = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    return ("batch", "frozen_batch") if batch else ("batch",)


def with_norm(net: nn.Module, norm: str, *, name: str) -> nn.Module:
    """Return the model, changed to fixed batch statistics if ``norm`` is ``frozen_batch``."""
    if norm == "batch":
        return net
    if norm != "frozen_batch":
        raise UserError(
            f"timm/{name} comes with its own norms: norm takes 'batch', which leaves them as they "
            "are, or 'frozen_batch', which fixes its batch norms (in a run backbone.norm=auto "
            f"takes what it can); got {norm!r}."
        )
    if norm not in norms_of(net):
        raise UserError(
            f"timm/{name} has no batch norm that norm='frozen_batch' could fix; give norm='batch', "
            "which leaves its norms as they are (in a run backbone.norm=batch, or auto)."
        )
    frozen: nn.Module = freeze_batch_norm_2d(net)  # type: ignore[no-untyped-call]
    for module in list(frozen.modules()):  # timm's function leaves those of tokens (LevIT, NextViT)
        for child_name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                fixed = FrozenBatchNorm1d(child.num_features, eps=child.eps)
                fixed.load_state_dict(child.state_dict())
                module.register_module(child_name, fixed)
    return frozen


def epsilon_of(net: nn.Module) -> float:
    """Return the epsilon of the model's batch norms; the default one if there are none."""
    found = (getattr(m, "eps", None) for m in net.modules() if hasattr(m, "running_var"))
    return next((float(eps) for eps in found if eps is not None), Conventions.epsilon)


def with_activation(net: nn.Module) -> tuple[str, ...]:
    """Return the names of batch norms that apply an activation as well."""
    norms = ((name, m) for name, m in net.named_modules() if hasattr(m, "running_var"))
    acts = ((name, getattr(m, "act", None)) for name, m in norms)
    return tuple(name for name, act in acts if act is not None and type(act) is not nn.Identity)


class FrozenBatchNorm1d(FrozenBatchNorm2d):  # type: ignore[misc]
    """torchvision's `FrozenBatchNorm2d` for tokens, (N, C) or (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the fixed statistics."""
        shape = (-1, *(1,) * (x.ndim - 2))
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        out: Tensor = x * scale.view(shape) + shift.view(shape)
        return out
