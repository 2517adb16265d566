"""How many workers, and whether images stay in memory: decided with the hardware pretended."""

import pytest

from tasks.common import machine
from tasks.common.loading import choose_cache, choose_loading, choose_workers
from tasks.common.machine import Decision
from tasks.common.trainer import Machine, TrainerOptions


@pytest.mark.parametrize(
    ("device", "cores", "cached", "value", "reason"),
    [
        ("cpu", 64, False, "0", "the CPU is busy with training"),
        ("cpu", 64, True, "0", "the CPU is busy with training"),
        ("cuda", 1, False, "0", "all but one of 1 cores"),
        ("cuda", 4, False, "3", "all but one of 4 cores"),
        ("cuda", 9, False, "8", "enough to decode; 9 cores"),
        ("cuda", 64, False, "8", "enough to decode; 64 cores"),
        ("cuda", 4, True, "3", "all but one of 4 cores"),
        ("cuda", 64, True, "4", "what is left is augmentation; 64 cores"),
    ],
)
def test_workers_follow_from_device_cores_and_cache(device, cores, cached, value, reason):
    decision = choose_workers("auto", device=device, cores=cores, cached=cached)
    assert decision.value == value
    assert reason in decision.reason


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_told_workers_are_taken(device):
    told = choose_workers(3, device=device, cores=1, cached=False)
    assert told == Decision(value="3", reason="as told")


@pytest.mark.parametrize(
    ("wanted", "size", "free", "value", "reason"),
    [
        ("auto", 2_000_000_000, 8_000_000_000, "memory", "2 GB, within a quarter of 8 GB free"),
        ("auto", 2_000_000_001, 8_000_000_000, "none", "2 GB, more than a quarter of 8 GB free"),
        ("auto", 1, None, "none", "does not say how much memory is free"),
        ("memory", 9, 8, "memory", "as told"),
        ("none", 1, 100, "none", "as told"),
    ],
)
def test_images_stay_in_memory_if_they_fill_a_quarter_of_it(wanted, size, free, value, reason):
    decision = choose_cache(wanted, size=size, free=free)
    assert decision.value == value
    assert reason in decision.reason


@pytest.mark.parametrize(("shared", "value"), [(None, "memory"), (200, "memory"), (199, "none")])
def test_images_fill_half_of_the_shared_memory_at_most(shared, value):
    decision = choose_cache("auto", size=100, free=1000, shared=shared)
    assert decision.value == value
    assert ("half of" in decision.reason) == (value == "none")


def test_more_than_the_shared_memory_is_refused():
    """Python would put it on the disk."""
    assert choose_cache("memory", size=100, free=None, shared=100).value == "memory"
    message = r"needs 1 GB of shared memory .* and 0.064 GB are free in /dev/shm: enlarge it"
    with pytest.raises(ValueError, match=message):
        choose_cache("memory", size=10**9, free=10**12, shared=64 * 10**6)


def test_an_unknown_cache_is_refused():
    with pytest.raises(ValueError, match=r"unknown trainer.cache 'memroy'; did you mean 'memory'"):
        choose_cache("memroy", size=1, free=1)


@pytest.mark.parametrize(("devices", "cache", "workers"), [(1, "memory", 4), (2, "none", 5)])
def test_processes_of_several_devices_share_cores_and_memory(monkeypatch, devices, cache, workers):
    """12 cores; 3 of 16 bytes fit in a quarter, twice 3 do not."""
    monkeypatch.setattr(machine, "cores", lambda: 12)
    monkeypatch.setattr(machine, "free_memory", lambda: 16)
    gpu = Machine(
        accelerator=Decision(value="cuda", reason=""),
        precision=Decision(value="32-true", reason=""),
        cpu=Decision(value="1 threads", reason=""),
    )
    loading = choose_loading(TrainerOptions(devices=devices), gpu, size=3)
    assert (loading.cache.value, loading.processes) == (cache, workers)
    assert loading.cached == (cache == "memory")


@pytest.mark.parametrize("workers", ["many", -1, 1.5])
def test_workers_that_are_no_number_are_refused(workers):
    with pytest.raises(ValueError, match=r"trainer.workers takes auto or an integer from 0, got"):
        TrainerOptions(workers=workers)
