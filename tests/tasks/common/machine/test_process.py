"""When a process was started, told by itself and measured by the one that started it."""

import subprocess
import sys
import time

from tasks.common.machine.process import process_start

TELL = """
import time
time.sleep(0.3)
from tasks.common.machine.process import process_start
print(time.monotonic() - process_start())
"""


def test_a_process_knows_its_age():
    before = time.monotonic()
    told = subprocess.run([sys.executable, "-c", TELL], check=True, capture_output=True, text=True)
    assert 0.29 < float(told.stdout) < time.monotonic() - before + 0.02  # ticks of 10 ms


def test_where_the_system_does_not_tell_the_first_import_counts(monkeypatch):
    def unknown(_):
        raise OSError

    monkeypatch.setattr(time, "clock_gettime", unknown)
    assert process_start() == process_start() < time.monotonic()
