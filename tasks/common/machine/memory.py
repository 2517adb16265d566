"""How much memory there is, and how much of it is used; Linux says so."""

import re
from pathlib import Path


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
