"""How many workers, and whether images stay in memory: decided with the hardware pretended."""

import socket
from pathlib import Path

import pytest

from tasks.common.data import loading
from tasks.common.data.loading import check_sockets, choose_cache, choose_loading, choose_workers
from tasks.common.machine import memory, threads
from tasks.common.machine.options import TrainerOptions
from tasks.common.options.limits import limits_of
from tests.tasks.common.fakes import machine

GB, GPU = 10**9, machine("cuda")


@pytest.mark.parametrize(
    ("wanted", "device", "cores", "cached", "value", "reason"),
    [
        ("auto", "cpu", 64, False, "0", "the CPU is busy with training"),
        ("auto", "cpu", 64, True, "0", "the CPU is busy with training"),
        ("auto", "cuda", 1, False, "0", "all but one of 1 cores"),
        ("auto", "cuda", 4, False, "3", "all but one of 4 cores"),
        ("auto", "cuda", 9, False, "8", "enough to decode; 9 cores"),
        ("auto", "cuda", 64, False, "8", "enough to decode; 64 cores"),
        ("auto", "cuda", 4, True, "3", "all but one of 4 cores"),
        ("auto", "cuda", 64, True, "4", "what is left is augmentation; 64 cores"),
        (3, "cpu", 1, False, "3", "as configured"),
        (3, "cuda", 1, False, "3", "as configured"),
    ],
)
def test_workers_follow_from_device_cores_and_cache(wanted, device, cores, cached, value, reason):
    decision = choose_workers(wanted, device=device, cores=cores, cached=cached)
    assert decision.value == value
    assert reason in decision.reason


@pytest.fixture
def _scratch(monkeypatch):
    monkeypatch.setattr(loading, "scratch_folder", lambda: Path("/scratch"))


@pytest.mark.usefixtures("_scratch")
@pytest.mark.parametrize(
    ("wanted", "size", "free", "disk", "value", "reason"),
    [
        ("auto", 2 * GB, 8 * GB, None, "memory", "2 GB, within a quarter of 8 GB free"),
        ("auto", 2 * GB + 1, 8 * GB, None, "none", "2 GB, more than a quarter of 8 GB free"),
        ("auto", 1, None, None, "none", "does not say how much memory is free"),
        ("memory", 9, 8, None, "memory", "as configured"),
        ("none", 1, 100, None, "none", "as configured"),
        ("auto", 2 * GB, 8 * GB, 0, "memory", "2 GB, within a quarter of 8 GB free"),
        ("auto", 2 * GB, 7 * GB, 4 * GB, "disk", "file of 2 GB in /scratch (TMPDIR), 4 GB free"),
        ("auto", 2 * GB, None, 4 * GB, "disk", "does not say how much memory is free; a temporary"),
        (
            *("auto", 2 * GB, 7 * GB, 4 * GB - 1, "none"),
            "decoded images are 2 GB, more than a quarter of 7 GB free, and more than half of 4 GB "
            "free in /scratch: every file is decoded whenever it is needed, which is slow for "
            "volumes; set TMPDIR to a folder with 4 GB free, or take trainer.cache=disk",
        ),
    ],
)
def test_where_decoded_images_stay(wanted, size, free, disk, value, reason):
    """``disk`` is what is free there for volumes; None for images, which do not go there."""
    volumes = disk is not None
    decision = choose_cache(wanted, size=size, free=free, disk=disk or 0, prefers_disk=volumes)
    assert decision.value == value
    assert reason in decision.reason


@pytest.mark.usefixtures("_scratch")
def test_a_configured_disk_that_is_too_small_is_refused():
    decision = choose_cache("disk", size=GB, free=None, disk=GB, prefers_disk=False)
    assert str(decision) == "disk (as configured, a temporary file of 1 GB in /scratch)"
    message = (
        r"trainer.cache=disk needs 1 GB for decoded images, and 500 MB are free in /scratch: set "
        r"TMPDIR to a folder with more, or take memory, none or auto\."
    )
    with pytest.raises(ValueError, match=message):
        choose_cache("disk", size=GB, free=None, disk=GB // 2, prefers_disk=False)


@pytest.mark.parametrize(("devices", "cache", "workers"), [(1, "memory", 4), (2, "none", 5)])
def test_processes_of_several_devices_share_cores_and_memory(monkeypatch, devices, cache, workers):
    """12 cores; 3 of 16 bytes fit in a quarter, twice 3 do not."""
    monkeypatch.setattr(threads, "cores", lambda: 12)
    monkeypatch.setattr(memory, "free_memory", lambda: 16)
    chosen = choose_loading(TrainerOptions(devices=devices), GPU, size=3, once="image")
    assert (chosen.cache.value, chosen.processes) == (cache, workers)
    assert chosen.cached == (cache == "memory")
    assert chosen.folder is None


def test_what_each_option_of_the_trainer_takes():
    assert limits_of(TrainerOptions) == {
        "accelerator": "auto, cuda or cpu",
        "devices": "an integer of at least 1",
        "precision": "auto, 32, bf16 or fp16",
        "threads": "an integer of at least 0",
        "workers": "an integer of at least 0, or auto",
        "cache": "auto, memory, disk or none",
        "validate_every": "an integer of at least 1",
        "max_steps": "an integer of at least 1, or -1 for no limit",
        "save_minutes": "a number of at least 0, or inf",
    }


@pytest.mark.parametrize(("length", "sends"), [(75, True), (76, False)])
def test_a_folder_for_sockets_may_be_no_longer_than_what_can_be_bound(length, sends):
    """107 bytes and a zero are what Linux gives the path of a socket."""
    folder = Path("/" + "x" * (length - 1))
    path = f"{folder}/pymp-12345678/listener-12345678"
    with socket.socket(socket.AF_UNIX) as one:
        error = "No such file" if sends else "path too long"  # the folder is not there
        with pytest.raises(OSError, match=error):
            one.bind(path)
    if sends:
        check_sockets(folder)
        return
    with pytest.raises(ValueError, match=r"76 bytes long.*at most 75 bytes.*trainer\.workers=0"):
        check_sockets(folder)


def test_a_run_whose_loaders_could_not_send_is_refused(monkeypatch, tmp_path):
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    choose_loading(TrainerOptions(workers=0), GPU, size=3, once="image")
    with pytest.raises(ValueError, match="where processes that load put their sockets"):
        choose_loading(TrainerOptions(workers=1), GPU, size=3, once="image")
