"""The checkpoint that a run goes on from."""

import re
from functools import partial

import pytest
import torch

from tasks.common.resume import checkpoints as resume

find_start = partial(resume.find_start, runs="runs/pose")


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


def test_the_folder_of_checkpoints_may_be_given_itself(run):
    folder = run / "checkpoints"
    assert find_start(folder) == (folder / "last.ckpt", str(folder / "last.ckpt"))


def test_a_run_with_the_best_checkpoint_alone_says_so(run):
    for name in ("last", "previous"):
        (run / "checkpoints" / f"{name}.ckpt").unlink()
    best = re.escape(str(run / "checkpoints" / "best.ckpt"))
    message = (
        rf"there is no last\.ckpt in .*checkpoints; resume={best} goes on after the best epoch"
    )
    for wanted in (run, run / "checkpoints", run / "checkpoints" / "last.ckpt"):
        with pytest.raises(FileNotFoundError, match=message):
            find_start(wanted)


@pytest.mark.parametrize(
    ("files", "wanted", "message"),
    [
        (
            [],
            "run",
            r"no such run folder or checkpoint; .* as runs/pose/<run>\. .*/(\w|-)+' is empty\.",
        ),
        (["ran/config.yaml"], "run", r"no such run folder or checkpoint.*nearest: 'ran'"),
        (["ran/config.yaml"], "run/checkpoints/last.ckpt", r"no such run folder.* holds 'ran'"),
        (["run/"], "run", r"there is no checkpoint in .*run/checkpoints\. .*'\S+run' is empty\."),
        (["run/config.yaml"], "run", r"they were deleted, .*run' holds 'config\.yaml'"),
        (["run/checkpoints/"], "run", r"they were deleted, .*checkpoints' is empty\."),
        (["run/checkpoints/"], "run/checkpoints/last.ckpt", r"there is no checkpoint in .*empty"),
        (["run/checkpoints/epoch3.ckpt"], "run", r"checkpoints' holds 'epoch3\.ckpt'"),
        (
            ["runs/1/checkpoints/last.ckpt", "runs/2/checkpoints/best.ckpt", "runs/3/x"],
            "runs",
            r"resume=\S+runs: that is no run but a folder of 2, such as '1', '2'; give one\.",
        ),
    ],
)
def test_what_is_there_instead_is_said(tmp_path, files, wanted, message):
    for name in files:
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True)
        if not name.endswith("/"):
            path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=message):
        find_start(tmp_path / wanted)


def test_a_file_in_place_of_a_run_folder_is_left_to_its_reader(tmp_path):
    (tmp_path / "run").write_text("no checkpoint")
    assert find_start(tmp_path / "run") == (tmp_path / "run", str(tmp_path / "run"))
