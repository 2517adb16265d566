"""When this process was started."""

import os
import time
from pathlib import Path
from typing import Final

_IMPORTED: Final = time.monotonic()
_STAT: Final = Path("/proc/self/stat")
_START_TICKS: Final = 19  # of the fields behind the name, see proc_pid_stat(5): starttime


def process_start() -> float:
    """Return when the process was started, on the clock of `time.monotonic`.

    Where the system does not tell (all but Linux), that is when this module was imported.
    """
    try:
        fields = _STAT.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        booted = int(fields[_START_TICKS]) / os.sysconf("SC_CLK_TCK")  # seconds after the boot
        return time.monotonic() - max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - booted)
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED
