"""The gradient of a convolution's weight on a CPU with AVX2 only, where torch's is slow.

In ``channels_last`` and float32, oneDNN computes it there at a fifth to two thirds of the speed of
the forward pass, and 1.1 to 2.8 times as fast from contiguous copies, for 3x3 kernels with 64
channels or more on both sides. The forward pass and the gradient of the input are no slower in
``channels_last``. With fewer channels, 1x1 kernels, or AVX-512 the copies lose or gain little.
``python scripts/benchmark.py convolutions`` measures all of it by shape; the rule here is drawn
from that, rather than measured anew by every process, so that two runs of one seed have the same
bits. What it rests on is one CPU kept from AVX-512, see ``benchmarks/RESULTS.md``.
"""

from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.library import Library, get_kernel

OPERATOR: Final = "aten::convolution_backward"
LEAST_CHANNELS: Final = 64  # with fewer, the copies cost about as much as they gain, or more


@cache  # keeps the library too, with which torch would drop the kernel
def speed_up_weight_gradients() -> Library | None:
    """Let this process compute weight gradients the faster way, if this CPU has one; else None.

    torch's kernel for ``aten::convolution_backward`` on CPUs is replaced by one that calls it in
    two parts where `gains` says so. It holds for every convolution of the process, whoever built
    it, under torch.compile too; autograd's formulas stay torch's, and gradients equal its own up to
    rounding. Calling it again changes nothing.
    """
    return install() if torch.backends.cpu.get_cpu_capability() == "AVX2" else None


@cache  # of before the replacement
def _torchs_kernel() -> Any:  # noqa: ANN401 (torch names no type)
    return get_kernel(OPERATOR, "CPU")


def torchs_backward(grad: Tensor, *arguments: Any) -> list[Tensor | None]:  # noqa: ANN401
    """Return what ``aten::convolution_backward`` does without the replacement.

    ``grad`` (N, O, H, W) and the operator's further arguments in its order.
    """
    if grad.device.type != "cpu":
        return list(torch.ops.aten.convolution_backward(grad, *arguments))
    keys = torch._C._dispatch_keys(grad)  # torch has no public name for it
    found: list[Tensor | None] = _torchs_kernel().call_boxed(keys, grad, *arguments)
    return found


def install() -> Library:
    """Replace torch's kernel on any CPU, until ``_destroy`` of what is returned is called."""
    torchs = _torchs_kernel()

    def backward(keys: Any, grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> list[Any]:  # noqa: ANN401
        *how, (wants_x, wants_weight, wants_bias) = rest
        _, _, _, _, transposed, _, groups = how

        def call(tensors: tuple[Tensor, ...], wanted: list[bool]) -> list[Any]:
            gradients: list[Any] = torchs.call_boxed(keys, *tensors, *how, wanted)
            return gradients

        tensors = grad, x, weight
        if not wants_weight or transposed or groups > 1 or not gains(x, weight):
            return call(tensors, [wants_x, wants_weight, wants_bias])
        of_x = call(tensors, [True, False, False])[0] if wants_x else None
        copies = grad.contiguous(), x.contiguous(), weight.contiguous()
        _, of_weight, of_bias = call(copies, [False, True, wants_bias])
        return [of_x, of_weight.contiguous(memory_format=torch.channels_last), of_bias]

    library = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("convolution_backward", backward, "CPU", with_keyset=True)  # type: ignore[no-untyped-call]
    return library


def gains(x: Tensor, weight: Tensor) -> bool:
    """Return whether contiguous copies are the faster way to this weight's gradient.

    ``x`` (N, C, H, W) is the input, ``weight`` (O, C, K, K).
    """
    return (
        x.dim() == 4
        and x.dtype in (torch.float32, torch.float64)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and min(weight.shape[2:]) > 1
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
    )
