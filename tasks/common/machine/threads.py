"""The set-up of a process on a CPU: its threads, and what makes its arithmetic fast."""

import os

import torch

from backbones.layers.conv_backward import speed_up_weight_gradients
from tasks.common.options.decision import Decision


def prepare_cpu(threads: int) -> Decision:
    """Set the process's number of threads, and flush denormal numbers to zero.

    0 threads take ``OMP_NUM_THREADS`` if it is set, or else one per core that this process may use.
    Denormals appear in gradients as losses shrink, and make CPU training 4 to 6 times slower. Where
    the CPU has AVX2 only, weight gradients are computed as `conv_backward` says.
    """
    # OpenMP also takes a list there, one number per level of nesting.
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    count = threads or (int(given) if given.isdecimal() else 0) or cores()
    torch.set_num_threads(count)
    flushed = torch.set_flush_denormal(True)
    note = "denormals are zero" if flushed else "this CPU cannot flush denormals"
    if speed_up_weight_gradients():
        note += "; AVX2 only: weight gradients from contiguous copies"
    return Decision(f"{count} threads", f"{cores()} cores; {note}")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
