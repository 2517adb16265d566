"""Decoded images on the disk, or nowhere, change no run, and nothing is left of them."""

import os
import re
import signal

import pytest

from tests.scripts.conftest import started
from tests.training import differences


@pytest.fixture
def scratch(tmp_path_factory):
    """A folder with a short path: loaders have their sockets there."""
    return tmp_path_factory.mktemp("s")


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]  # torch leaves an empty folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_their_place_changes_nothing(segmentation, tmp_path, monkeypatch, capsys, scratch, workers):
    """They go to TMPDIR only where they are told to."""
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for cache in ("memory", "disk", "none"):
        options = f"trainer.cache={cache}", f"trainer.workers={workers}"
        segmentation.train(tmp_path / cache, *options)
        said = rf"disk \(as configured, a temporary file of \S+ MB in {re.escape(str(scratch))}\)"
        assert bool(re.search(said, capsys.readouterr().out)) == (cache == "disk")
        assert files_in(scratch) == []
    one, *others = (tmp_path / cache / "checkpoints" for cache in ("memory", "disk", "none"))
    assert [differences(one, other) for other in others] == [[], []]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_leaves_no_file(segmentation, tmp_path, monkeypatch, scratch, workers):
    monkeypatch.setenv("TMPDIR", str(scratch))
    options = "trainer.cache=disk", f"trainer.workers={workers}", "recipe.epochs=50"
    line = segmentation.line(tmp_path / "r", *options)
    with started("train_seg.py", line, tmp_path, start_new_session=True) as process:
        rows = []
        while not (row := process.stdout.readline()).startswith("epoch   2/"):
            assert row, "".join(rows)  # it has ended
            rows.append(row)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    assert files_in(scratch) == []
