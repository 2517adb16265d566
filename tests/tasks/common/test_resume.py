"""The checkpoint that a run goes on from."""

import pytest
import torch

from tasks.common.resume import find_start


@pytest.fixture
def run(tmp_path):
    """A run folder with three checkpoints."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("last", "previous", "best"):
        torch.save({"name": name, "weights": torch.ones(5000)}, folder / f"{name}.ckpt")
    return tmp_path / "run"


def empty(path):
    path.write_bytes(b"")


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def cut(path):
    path.write_bytes(path.read_bytes()[:-3000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [empty, zeros, cut, flip]


def test_a_run_folder_stands_for_its_last_checkpoint(run):
    last = run / "checkpoints" / "last.ckpt"
    assert find_start(run) == (last, str(last))
    assert find_start(last) == (last, str(last))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("wanted", [".", "checkpoints/last.ckpt"])
def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(run, damage, wanted):
    damage(run / "checkpoints" / "last.ckpt")
    previous = run / "checkpoints" / "previous.ckpt"
    assert find_start(run / wanted) == (previous, f"{previous}, because last.ckpt is damaged")


def test_a_missing_last_checkpoint_gives_way_as_well(run):
    (run / "checkpoints" / "last.ckpt").unlink()
    previous = run / "checkpoints" / "previous.ckpt"
    assert find_start(run) == (previous, f"{previous}, because last.ckpt is missing")


def test_another_checkpoint_is_taken_as_it_is(run):
    empty(run / "checkpoints" / "best.ckpt")  # what is wrong with it is found where it is read
    best = run / "checkpoints" / "best.ckpt"
    assert find_start(best) == (best, str(best))


def test_without_a_whole_one_the_best_is_named(run):
    folder = run / "checkpoints"
    cut(folder / "last.ckpt")
    cut(folder / "previous.ckpt")
    damaged = "last.ckpt is damaged and previous.ckpt is damaged; "
    with pytest.raises(
        ValueError, match=f"{damaged}resume=.*best.ckpt goes on after the best epoch"
    ):
        find_start(run)
    (folder / "best.ckpt").unlink()
    with pytest.raises(ValueError, match=f"{damaged}start a new run"):
        find_start(run)


def test_a_folder_without_checkpoints_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no last\.ckpt in .*checkpoints\. The"):
        find_start(tmp_path)
