"""Convolutions with the norms after them folded in, for networks that are only run."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, Literal, TypeVar

import torch
from torch import Tensor, nn

from backbones.choose import choose
from backbones.dataflow import Call, calls_of
from backbones.errors import UserError
from backbones.layers.hooks import watched

AnyModule = TypeVar("AnyModule", bound=nn.Module)

FUSED: Final = "keel_fused"
"""The key by which a checkpoint says that `fuse` has returned its network."""

_CONVOLUTIONS: Final = (nn.modules.conv._ConvNd, nn.Linear)
_MOST_NAMED: Final = 4  # norms in a message
_UNSEEN: Final = "in a module that torch.fx cannot follow"
_UNUSUAL: Final = "with hooks or a computation of its own"


def fuse(module: AnyModule, *, other_norms: Literal["refuse", "keep"] = "refuse") -> AnyModule:
    """Return a copy in eval mode in which a convolution and the norm after it are one convolution.

    A norm with fixed statistics is ``y * s + t``, where ``s = gamma / sqrt(var + eps)`` and
    ``t = beta - mean * s``. The pair is then a convolution with the weight ``w * s`` and the bias
    ``b * s + t`` (Jacob et al., arXiv:1712.05877, section 3.2), computed in float64. The norm
    becomes an identity or, if it also applies an activation, that activation. The copy keeps the
    interface of the original; its state dict loses the folded norms and gains biases. Outputs
    equal those of the original in eval mode up to rounding.

    Norms with fixed statistics are batch norms of every kind, frozen ones too, and instance norms
    that track statistics. Convolutions are those of any dimension, grouped, dilated, transposed
    and deformable ones, and linear layers on inputs (N, C).

    torch.fx finds which layer follows which, with the arguments of ``module`` at their defaults. A
    norm is folded only if it takes the output of one convolution, nothing else takes that output,
    and the folded pair gives what the two gave on a random input. A norm with fixed statistics
    that stands elsewhere, such as before the first convolution of a pre-activation block, stays.

    A module whose forward depends on values or shapes cannot be followed, and it may call parts of
    its children in other ways than the children do. Norms inside it are therefore refused, or
    kept. A few classes are exceptions, because they only call their children: containers,
    torchvision's detectors, and some blocks of timm. For a module of yours that does the same, fuse
    the children: ``net.body = fuse(net.body)``. torch.fx does not see that a forward tests the
    type of its input, nor what hooks on ``module`` itself do.

    Args:
        module: Any module: a backbone, an FPN, a detector, a U-Net, a model of timm. It is not
            changed.
        other_norms: What is done about norms that cannot be folded: those that compute statistics
            of their input (instance, group and layer norms, batch norms without running
            statistics), those with hooks or a computation of their own, those with a variance and
            an epsilon of 0, and those in a module that torch.fx cannot follow. ``refuse`` raises
            UserError, ``keep`` leaves them as they are.

    Raises:
        ValueError: If ``other_norms`` is ``refuse`` and there are such norms; it names them.

    >>> from backbones import build_backbone
    >>> fused = fuse(build_backbone("resnet18"))
    >>> [name for name, _ in fused.layer1[0].named_parameters()]
    ['conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias']
    """
    choose(dict.fromkeys(("refuse", "keep")), other_norms, what="treatment of other norms")
    copy = deepcopy(module).eval()
    calls = calls_of(copy, whole=_is_whole)
    left: dict[nn.Module, nn.Module] = {}  # of each folded norm
    faults: dict[str, str] = {}
    for name, norm in copy.named_modules():
        if not _is_norm(norm):
            continue
        rest = _folded(norm, calls)
        if isinstance(rest, nn.Module):
            left[norm] = rest
        elif rest:
            faults[name] = f"{type(norm).__name__}, {rest}"
    if faults and other_norms == "refuse":
        raise UserError(_refusal(faults))
    _replace(copy, left)
    return copy


def is_fused(module: nn.Module) -> bool:
    """Return whether norms of a module were folded by `fuse`."""
    return any(isinstance(part, _Folded) for part in module.modules())


def fused_error(what: str) -> UserError:
    """Return the error for a fused network or file, ``what``, that is to be trained or shared."""
    return UserError(
        f"{what} is fused: its norms are part of its convolutions, so that it can only be run. Use "
        "the checkpoint that it was made of."
    )


class _Folded(nn.Sequential):
    """What is left of a folded norm: the activation that it applied, or nothing."""


def _replace(root: nn.Module, by: Mapping[nn.Module, nn.Module]) -> None:
    for parent in list(root.modules()):
        for name, child in parent._modules.items():
            parent._modules[name] = None if child is None else by.get(child, child)


def _refusal(faults: Mapping[str, str]) -> str:
    shown = [f"{name} ({fault})" for name, fault in list(faults.items())[:_MOST_NAMED]]
    more = len(faults) - len(shown)
    return (
        f"fuse cannot fold these norms: {', '.join(shown)}{f' and {more} more' if more else ''}; "
        "give other_norms='keep' to leave such norms as they are."
    )


def _is_whole(module: nn.Module) -> bool:
    return _is_norm(module) or isinstance(module, _CONVOLUTIONS)


def _is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm; by its name if torch has no class for it.

    A ``ConvNorm`` has children, and ``Normalize`` prepares images.
    """
    if hasattr(module, "running_mean") or isinstance(module, nn.GroupNorm | nn.LayerNorm):
        return True
    named = re.search(r"Norm(?![a-z])", type(module).__name__)
    return named is not None and not any(module.children())


def _folded(norm: nn.Module, calls: Mapping[nn.Module, list[Call]]) -> nn.Module | str:
    """Fold a norm and return what is left of it, or why it cannot be; "" if it just stays."""
    statistics = [getattr(norm, name, None) for name in ("running_mean", "running_var")]
    if norm.training or not all(isinstance(each, Tensor) for each in statistics):
        return "which computes statistics of its input"
    if norm not in calls:
        return _UNSEEN
    giver, *others = {call.giver for call in calls[norm]}
    if others or not isinstance(giver, _CONVOLUTIONS):
        return ""
    if giver not in calls:
        return _UNSEEN
    if any(call.taker is not norm for call in calls[giver]):
        return ""
    return _fold(giver, norm)


def _fold(convolution: nn.Module, norm: nn.Module) -> nn.Module | str:
    """Fold a norm into a convolution and return what is left of the norm, or why it cannot be."""
    own = convolution._parameters
    if watched(convolution) or watched(norm) or own.get("weight") is None or "bias" not in own:
        return _UNUSUAL
    first, second = (deepcopy(m).to("cpu", torch.float64) for m in (convolution, norm))
    x = _example(first)
    with torch.no_grad():
        try:
            expected = second(first(x))
            first.weight, first.bias = map(nn.Parameter, _product(first, second))
            found = _rest(second)(first(x))
        except (RuntimeError, TypeError, ValueError):  # a class of its own, for other inputs
            return _UNUSUAL
        if not all(part.isfinite().all() for part in (first.weight, first.bias, expected)):
            return "whose scale is not finite: a variance of 0, or values that are no numbers"
        if not torch.allclose(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max())):
            return _UNUSUAL
        weight: Any = own["weight"]
        folded = torch.empty_like(weight).copy_(first.weight), first.bias.to(weight)
    for name, tensor in zip(("weight", "bias"), folded, strict=True):
        own[name] = nn.Parameter(tensor, requires_grad=weight.requires_grad)
    return _rest(norm)


def _product(convolution: Any, norm: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 (of any class)
    """Return the weight and the bias of a convolution with a norm after it."""
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    weight = convolution.weight
    if isinstance(convolution, nn.modules.conv._ConvTransposeNd):  # (in, out / groups, ...)
        grouped = weight.unflatten(0, (convolution.groups, -1))
        factor = scale.view(convolution.groups, 1, -1, *[1] * (weight.dim() - 2))
        return (grouped * factor).flatten(0, 1), shift
    return weight * scale.view(-1, *[1] * (weight.dim() - 1)), shift


def _rest(norm: nn.Module) -> nn.Module:
    """Return what a norm does after normalising: its children, such as timm's activations."""
    return _Folded(OrderedDict(norm.named_children())).eval()


def _example(convolution: Any) -> Tensor:  # noqa: ANN401 (of any class)
    """Return a random input of a convolution or a linear layer, larger than its kernel."""
    shape = (2, getattr(convolution, "in_features", 0))
    if not isinstance(convolution, nn.Linear):
        sides = zip(convolution.kernel_size, convolution.dilation, strict=True)
        shape = (2, convolution.in_channels, *(2 + (k - 1) * d for k, d in sides))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
