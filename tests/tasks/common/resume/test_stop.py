"""Processes that load data ignore the signals that stop a run, and end with it."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from tasks.common.data.loading import prepare_worker
from tasks.common.resume import stop


def test_loaders_that_ignore_signals_are_killed(monkeypatch):
    """Else Python would wait for ever, after a stop, while something still holds the loader."""
    kept = {number: signal.getsignal(number) for number in (2, 15, signal.SIGCHLD)}
    registered = []
    monkeypatch.setattr(stop.atexit, "register", registered.append)
    options = {"num_workers": 1, "persistent_workers": True, "worker_init_fn": prepare_worker}
    iterator = iter(DataLoader(torch.zeros(2), **options))
    next(iterator)
    (loader,) = multiprocessing.active_children()
    stop.StopSignals().listen(confirms=False)
    os.kill(loader.pid, signal.SIGTERM)
    loader.join(0.2)
    assert loader.exitcode is None
    registered[0]()
    loader.join(10)
    assert loader.exitcode == -signal.SIGKILL
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.slow
def test_a_process_does_not_wait_for_loaders_that_ignore_its_signals():
    """They are killed before multiprocessing waits for them."""
    program = """
import torch
from torch.utils.data import DataLoader
from tasks.common.data.loading import prepare_worker
from tasks.common.resume.stop import StopSignals
options = {"num_workers": 2, "persistent_workers": True, "worker_init_fn": prepare_worker}
loader = DataLoader(torch.zeros(4), **options)
next(iter(loader))
StopSignals().listen(confirms=False)
raise SystemExit(143)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == 143
