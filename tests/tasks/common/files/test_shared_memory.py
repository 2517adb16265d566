"""Room that processes share, of which nothing is left when they are killed."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from tasks.common.files import shared_memory
from tasks.common.files.shared_memory import Scratch, free_scratch, scratch_folder


@pytest.fixture(params=["memory", "disk"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path


def write(room):
    room.bytes(3, 6)[:] = 7


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_one_process_writes_another_reads(folder, start):
    room = Scratch(10, folder=folder)
    room.bytes(0, 10)[:] = np.arange(10)
    process = multiprocessing.get_context(start).Process(target=write, args=(room,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert room.bytes(0, 10).tolist() == [0, 1, 2, 7, 7, 7, 6, 7, 8, 9]


def test_a_file_takes_its_room_at_once_and_has_no_name(tmp_path):
    before = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    room = Scratch(64 << 20, folder=tmp_path)
    after = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert before - after > 32 << 20
    assert list(tmp_path.iterdir()) == []
    assert not room.bytes(0, 100).any()


def test_memory_does_not_ask_for_shared_memory(monkeypatch):
    """Docker gives /dev/shm 64 MB."""
    monkeypatch.setattr(shared_memory, "_file", None)
    assert Scratch(10**12, folder=None).bytes(10**12 - 1, 10**12).tolist() == [0]


KILLED = """
import sys, time
from pathlib import Path
from tasks.common.files.shared_memory import Scratch
room = Scratch(1 << 20, folder=Path(sys.argv[1]))
room.bytes(0, 100)[:] = 1
print("ready", flush=True)
time.sleep(60)
"""


def test_a_process_that_is_killed_leaves_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_room_that_is_not_there_is_refused_with_both_numbers(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    message = (
        rf"decoded images need 5 GB in {re.escape(str(tmp_path))}, and \S+ GB are free there \(No "
        r"space left on device\): set TMPDIR to a folder with more, or add trainer\.cache=none"
    )
    with pytest.raises(OSError, match=message):
        Scratch(5 * 10**9, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_go_where_tmpdir_says(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert scratch_folder() == tmp_path
    found = os.statvfs(tmp_path)
    assert free_scratch() == pytest.approx(found.f_bavail * found.f_frsize, rel=0.05)


def test_without_a_folder_that_can_be_written_to_nothing_is_free(monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert (scratch_folder(), free_scratch()) == (None, 0)
