"""How much memory is free and used."""

import re
import resource
from pathlib import Path


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that are free, also in a container; None if not on Linux."""
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
    """Return the bytes of memory that this process uses, and the most it has used, on Linux."""
    status = Path("/proc/self/status").read_text("ascii", errors="ignore")
    found = dict(re.findall(r"Vm(RSS|HWM):\s+(\d+) kB", status))
    return int(found["RSS"]) * 1024, int(found["HWM"]) * 1024


def own_peak() -> int:
    """Return the most bytes of memory that this process has used."""
    if Path("/proc/self/status").exists():  # getrusage includes the parent process's peak there
        return own_memory()[1]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def size_text(size: float) -> str:
    """Return a number of bytes for a message.

    >>> size_text(2.5e9), size_text(500_000_000)
    ('2.5 GB', '500 MB')
    """
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
