"""Convolutions, and the one function that joins a convolution with its norm."""

from typing import cast

from torch import Tensor, fx, nn

from backbones.layers.hooks import watched
from backbones.layers.norm import NormFactory, fixed_affine
from backbones.layers.torchscript import NoTorchScript


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a convolution that keeps H and W when ``stride`` is 1."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=groups,
        bias=bias,
    )


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """Return ``norm(conv(x))``, as one convolution where the norm's statistics are fixed.

    Then the norm is ``y * s + t`` (see `fixed_affine`), and the pair a convolution with the weight
    ``w * s`` and the bias ``t``: no pass over the activations, none of them kept. Gradients reach
    all of them through the product, which is made in float32. Modules that do more are called as
    they are: with hooks, a forward of their own, others in their place; and all under torch.fx.
    """
    seen = watched(norm)
    folded = None if seen or not is_plain(conv, x) else folded_weights(conv, norm)
    if folded is None:
        plain: Tensor = norm(conv(x))
        # The caller rectifies in place; a hook may keep what it saw.
        return plain.clone() if seen or (isinstance(norm, nn.Identity) and watched(conv)) else plain
    # What Conv2d.forward calls with its own weight and bias; a deformable one has another.
    out: Tensor = conv._conv_forward(x, *folded)
    return out


def is_plain(conv: nn.Conv2d, x: Tensor) -> bool:
    """Return whether a call of ``conv`` with ``x`` is a convolution and nothing else."""
    convolves = type(conv).forward is nn.Conv2d.forward and "forward" not in vars(conv)
    return convolves and not watched(conv) and not isinstance(x, fx.Proxy)


def folded_weights(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return the weight and bias of both as one convolution; None if the norm is not fixed."""
    fixed = fixed_affine(norm)
    if fixed is None:
        return None
    scale, shift = fixed
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return conv.weight * scale[:, None, None, None], shift


class ConvNorm(NoTorchScript, nn.Sequential):
    """A convolution and its norm, under the keys ``0`` and ``1`` that torchvision gives them.

    The output is (N, out_channels, ceil(H / stride), ceil(W / stride)); ``kernel_size`` is odd.
    Where ``norm`` makes an identity, ``bias_without_norm`` gives the convolution a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm: NormFactory,
        stride: int = 1,
        bias_without_norm: bool = False,
    ) -> None:
        after = norm(out_channels)
        bias = bias_without_norm and isinstance(after, nn.Identity)
        first = conv(in_channels, out_channels, kernel_size, stride=stride, bias=bias)
        super().__init__(first, after)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        convolution, norm = self
        return conv_norm(cast("nn.Conv2d", convolution), norm, x)
