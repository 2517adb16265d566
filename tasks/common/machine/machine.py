"""What the machine is, and what is decided from it; every decision comes with its reason."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from backbones.choose import choose

PRECISIONS: Final = {"auto": "", "32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""The names in ``trainer.precision``, and Lightning's for the same."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A value that a run chose by itself or was told, and why."""

    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.value} ({self.reason})"


def accelerator(wanted: str, *, option: str = "trainer.accelerator") -> Decision:
    """Return ``cuda`` or ``cpu``.

    Args:
        wanted: ``auto``, ``cuda`` or ``cpu``.
        option: How the caller's user names it.

    Raises:
        ValueError: If CUDA is wanted and there is none, or ``wanted`` is unknown.
    """
    choose(dict.fromkeys(("auto", "cuda", "cpu")), wanted, what=option)
    if wanted == "cpu":
        return Decision(value="cpu", reason="as told")
    if torch.cuda.is_available():
        return Decision(value="cuda", reason=torch.cuda.get_device_name())
    if wanted == "cuda":
        raise ValueError(
            f"{option} is cuda, but torch sees no CUDA device; take cpu or auto, or look at "
            "nvidia-smi and torch.version.cuda."
        )
    return Decision(value="cpu", reason="no CUDA device")


def precision(wanted: str, *, device: str, option: str = "trainer.precision") -> Decision:
    """Return the precision of the arithmetic, by Lightning's name.

    Args:
        wanted: A key of `PRECISIONS`; ``auto`` takes bf16 where the hardware has it.
        device: ``cuda`` or ``cpu``.
        option: How the caller's user names it.

    Raises:
        ValueError: If ``wanted`` is unknown, or fp16 is wanted on a CPU.
    """
    name = choose(PRECISIONS, wanted, what=option)
    if wanted == "fp16" and device == "cpu":
        raise ValueError(f"{option} is fp16, which needs a CUDA device; on a CPU take bf16 or 32.")
    if wanted != "auto":
        return Decision(value=name, reason="as told")
    if device == "cuda":
        if torch.cuda.is_bf16_supported():
            return Decision(value="bf16-mixed", reason="the GPU has bf16")
        return Decision(value="16-mixed", reason="the GPU has no bf16; gradients are scaled")
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Decision(value="bf16-mixed", reason="the CPU has bf16 instructions")
    return Decision(value="32-true", reason="the CPU has no bf16 instructions")


def autocast(wanted: str, *, device: str, option: str = "trainer.precision") -> torch.autocast:
    """Return the context in which a trained network computes in a precision.

    Args:
        wanted: As in `precision`.
        device: ``cuda`` or ``cpu``.
        option: As in `precision`.

    Raises:
        ValueError: As `precision`.
    """
    types = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    dtype = types[precision(wanted, device=device, option=option).value]
    return torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None)


def prepare_cpu(threads: int) -> Decision:
    """Fix the number of threads and flush denormals to zero; both are for the whole process.

    Denormal numbers appear in gradients as losses shrink, and make CPU training 4 to 6 times
    slower; nothing is lost with them.

    Args:
        threads: For torch's operators; 0 takes ``OMP_NUM_THREADS`` where it is set, or else one
            per core that this process may use.
    """
    # OpenMP also takes a list there, one number per level of nesting.
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    count = threads or (int(told) if told.isdecimal() else 0) or cores()
    torch.set_num_threads(count)
    flushed = torch.set_flush_denormal(True)
    note = "denormals are zero" if flushed else "this CPU cannot flush denormals"
    return Decision(value=f"{count} threads", reason=f"{cores()} cores; {note}")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that are still to be had, or None where Linux does not say.

    A container's own limit counts, too: the version 2 of cgroups, as it is seen from within. Files
    that it read a while ago (``inactive_file``) count as used there, and are given back.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text("ascii"))
    except OSError:
        return None
    if found is None:
        return None
    free = int(found[1]) * 1024
    try:
        most, used, parts = (
            (root / f"sys/fs/cgroup/memory.{name}").read_text("ascii")
            for name in ("max", "current", "stat")
        )
    except OSError:
        return free
    if not most.strip().isdecimal():
        return free
    cached = re.search(r"^inactive_file (\d+)$", parts, re.MULTILINE)
    spare = int(most) - int(used) + (int(cached[1]) if cached else 0)
    return min(free, max(0, spare))


def own_memory() -> tuple[int, int]:
    """Return the bytes of memory that this process has, and the most it has had; of Linux."""
    status = Path("/proc/self/status").read_text("ascii", errors="ignore")
    found = dict(re.findall(r"Vm(RSS|HWM):\s+(\d+) kB", status))
    return int(found["RSS"]) * 1024, int(found["HWM"]) * 1024


def describe() -> dict[str, str]:
    """Return what a reader of the results has to know about the machine."""
    return {
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:  # noqa: PTH123
            line = next((line for line in file if line.startswith("model name")), "")
        return line.partition(":")[2].strip() or platform.processor()
    except OSError:
        return platform.processor()
