"""The precision of the arithmetic."""

import torch

from backbones.choose import choose
from backbones.errors import UserError
from tasks.common.machine.options import PRECISIONS
from tasks.common.options.decision import Decision


def precision(wanted: str, *, device: str, option: str = "trainer.precision") -> Decision:
    """Return the precision by Lightning's name; ``auto`` takes bf16 where the hardware has it."""
    name = choose(PRECISIONS, wanted, what=option)
    if wanted == "fp16" and device == "cpu":
        raise UserError(f"{option} is fp16, which needs a CUDA device; on a CPU take bf16 or 32.")
    if wanted != "auto":
        return Decision(name, "as configured")
    if device == "cuda":
        if torch.cuda.is_bf16_supported():
            return Decision("bf16-mixed", "the GPU has bf16")
        return Decision("16-mixed", "the GPU has no bf16; gradients are scaled")
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Decision("bf16-mixed", "the CPU has bf16 instructions")
    return Decision("32-true", "the CPU has no bf16 instructions")


def autocast(wanted: str, *, device: str, option: str = "trainer.precision") -> torch.autocast:
    """Return the context for inference in a precision; the arguments are those of `precision`."""
    types = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    dtype = types[precision(wanted, device=device, option=option).value]
    return torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None)
