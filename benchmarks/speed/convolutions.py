"""The parts of a convolution's training step in both layouts, and the most the machine can do.

The parts are those that training of an R50-FPN at 2 x 480x640 and of a U-Net R34 at 8 x 256x256
takes most time for, by torch's own kernels. The gradient of the weight from contiguous copies is
what `backbones.layers.conv_backward` does; it includes the copies.
"""

from functools import partial
from typing import Final

import torch
import torch.nn.functional as F

from backbones.layers.conv_backward import torchs_backward
from benchmarks.harness import Comparison, Make, device
from tasks.common.machine.precision import precision

# Images, channels in and out, kernel, stride, height and width of the input.
SHAPES: Final = (
    (2, 64, 64, 3, 1, 120, 160),
    (2, 256, 64, 1, 1, 120, 160),
    (2, 64, 256, 1, 1, 120, 160),
    (2, 128, 128, 3, 2, 120, 160),
    (2, 128, 128, 3, 1, 60, 80),
    (2, 256, 256, 3, 1, 30, 40),
    (2, 1024, 256, 1, 1, 30, 40),
    (2, 512, 512, 3, 1, 15, 20),
    (2, 256, 256, 3, 1, 60, 80),
    (2, 256, 256, 3, 1, 120, 160),
    (8, 64, 64, 3, 1, 64, 64),
    (8, 256, 256, 3, 1, 16, 16),
    (8, 384, 128, 3, 1, 32, 32),
    (8, 128, 32, 3, 1, 128, 128),
    (8, 32, 16, 3, 1, 256, 256),
)

PARTS: Final = {  # by name, of which of input and weight the gradient is taken
    "forward": None,
    "gradient of the input": (True, False, False),
    "gradient of the weight": (False, True, False),
}


class Part:
    """One part of a convolution's step, in float32."""

    def __init__(self, part: str, how: str, shape: tuple[int, ...]) -> None:
        images, channels, out, kernel, stride, height, width = shape
        self.mask, self.stride, self.padding = PARTS[part], stride, kernel // 2
        self.copies, self.as_forward = how == "contiguous copies", how == "as a forward pass"
        layout = torch.contiguous_format if how == "contiguous" else torch.channels_last
        x = torch.randn(images, channels, height, width, device=device())
        weight = torch.randn(out, channels, kernel, kernel, device=device())
        self.x, self.weight = x.to(memory_format=layout), weight.to(memory_format=layout)
        self.grad = torch.randn_like(self._forward())
        self.operations = 2 * self.grad.numel() * channels * kernel**2

    def __call__(self) -> None:
        """Do it once."""
        if self.mask is None:
            self._forward()
            return
        if self.as_forward:
            self._gradient_as_forward()
            return
        tensors = [self.grad, self.x, self.weight]
        if self.copies:
            tensors = [t.contiguous() for t in tensors]
        how = [self.stride] * 2, [self.padding] * 2, [1, 1], False, [0, 0], 1
        _, gradient, _ = torchs_backward(*tensors, None, *how, self.mask)
        if self.copies and gradient is not None:
            gradient.contiguous(memory_format=torch.channels_last)

    def _gradient_as_forward(self) -> torch.Tensor:
        flipped = self.weight.flip(2, 3).transpose(0, 1)
        return F.conv2d(self.grad, flipped, padding=self.padding)

    def _forward(self) -> torch.Tensor:
        return F.conv2d(self.x, self.weight, stride=self.stride, padding=self.padding)

    def note(self, seconds: float) -> str:
        """Return the speed in GFLOP/s, in words."""
        return f"{self.operations / seconds / 1e9:.0f} GFLOP/s"


class Product:
    """The product of two square matrices: the most arithmetic that the machine can do."""

    def __init__(self, side: int, dtype: torch.dtype) -> None:
        self.a, self.b = torch.randn(2, side, side, device=device()).to(dtype)

    def __call__(self) -> None:
        """Do it once."""
        torch.mm(self.a, self.b)

    def note(self, seconds: float) -> str:
        """Return the speed in GFLOP/s, in words."""
        return f"{2 * len(self.a) ** 3 / seconds / 1e9:.0f} GFLOP/s"


class Copy:
    """A copy of more bytes than a cache holds: what the memory can do."""

    def __init__(self, mebibytes: int) -> None:
        self.source = torch.randn(mebibytes * 2**18, device=device())
        self.target = torch.empty_like(self.source)

    def __call__(self) -> None:
        """Do it once."""
        self.target.copy_(self.source)

    def note(self, seconds: float) -> str:
        """Return the GB/s of reading and writing, in words."""
        return f"{8 * len(self.source) / seconds / 1e9:.1f} GB/s"


def _ways(part: str, stride: int) -> list[str]:
    ways = ["channels_last", "contiguous"]
    if part.endswith("weight"):
        return [*ways, "contiguous copies"]
    return [*ways, "as a forward pass"] if part.endswith("input") and stride == 1 else ways


def comparison(*, small: bool) -> Comparison:
    """Compare the layouts part by part, each with ``channels_last``."""
    systems: dict[str, Make] = {
        "matrix product, float32": partial(Product, 256 if small else 2048, torch.float32),
        "copy of memory": partial(Copy, 1 if small else 256),
    }
    if precision("auto", device=device().type).value == "bf16-mixed":  # elsewhere it is emulated
        product = partial(Product, 256 if small else 2048, torch.bfloat16)
        systems["matrix product, bfloat16"] = product
    base = {name: name for name in systems}
    for shape in SHAPES[:1] if small else SHAPES:
        images, channels, out, kernel, stride, height, width = shape
        name = f"{images}x{channels}x{height}x{width} to {out}, {kernel}x{kernel}"
        name += f" / {stride}" if stride > 1 else ""
        for part in PARTS:
            for how in _ways(part, stride):
                systems[f"{name}, {part}, {how}"] = partial(Part, part, how, shape)
                base[f"{name}, {part}, {how}"] = f"{name}, {part}, channels_last"
    return Comparison(
        title=f"Convolutions in float32 ({device().type})", systems=systems, base=base, memory=False
    )
