"""The checkpoint that a run goes on from."""

import re
from functools import partial

import pytest
import torch

from tasks.common.resume import checkpoints as resume

find_start = partial(resume.find_start, runs="runs/pose")


@pytest.fixture
def folder(tmp_path):
    """The folder of checkpoints in a run folder, with three of them."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("last", "previous", "best"):
        torch.save({"name": name, "weights": torch.ones(5000)}, folder / f"{name}.ckpt")
    return folder


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


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("..", "last.ckpt"),
        (".", "last.ckpt"),
        ("last.ckpt", "last.ckpt"),
        ("best.ckpt", "best.ckpt"),  # it is empty: what is wrong with it is found when it is read
        ("a_file", "a_file"),  # likewise
    ],
)
def test_a_run_folder_stands_for_its_last_checkpoint_and_a_file_for_itself(folder, wanted, found):
    (folder / "a_file").write_text("no checkpoint")
    empty(folder / "best.ckpt")
    wanted = folder.parent if wanted == ".." else folder / wanted
    assert find_start(wanted) == (folder / found, str(folder / found))


@pytest.mark.parametrize("damage", [empty, zeros, cut, flip])
@pytest.mark.parametrize("wanted", [".", "checkpoints/last.ckpt"])
def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(folder, damage, wanted):
    damage(folder / "last.ckpt")
    previous = folder / "previous.ckpt"
    text = f"{previous}, because last.ckpt is damaged"
    assert find_start(folder.parent / wanted) == (previous, text)


def test_a_missing_last_checkpoint_gives_way_as_well(folder):
    (folder / "last.ckpt").unlink()
    previous = folder / "previous.ckpt"
    assert find_start(folder.parent) == (previous, f"{previous}, because last.ckpt is missing")


def test_without_a_whole_one_the_best_is_named(folder):
    cut(folder / "last.ckpt")
    cut(folder / "previous.ckpt")
    damaged = "last.ckpt is damaged and previous.ckpt is damaged; "
    best = "resume=.*best.ckpt goes on after the best epoch"
    with pytest.raises(ValueError, match=f"{damaged}{best}"):
        find_start(folder.parent)
    (folder / "best.ckpt").unlink()
    with pytest.raises(ValueError, match=f"{damaged}start a new run"):
        find_start(folder.parent)


@pytest.mark.parametrize("wanted", [".", "checkpoints", "checkpoints/last.ckpt"])
def test_a_run_with_the_best_checkpoint_alone_says_so(folder, wanted):
    for name in ("last", "previous"):
        (folder / f"{name}.ckpt").unlink()
    best = re.escape(str(folder / "best.ckpt"))
    message = rf"there is no last\.ckpt in .*checkpoints; resume={best} goes on after the best"
    with pytest.raises(FileNotFoundError, match=message):
        find_start(folder.parent / wanted)


@pytest.mark.parametrize(
    ("files", "wanted", "message"),
    [
        ("", "run", r"no such run folder or checkpoint; .* as runs/pose/<run>\. .*/\S+' is empty"),
        ("ran/config.yaml", "run", r"no such run folder or checkpoint.*nearest: 'ran'"),
        ("ran/config.yaml", "run/checkpoints/last.ckpt", r"no such run folder.* holds 'ran'"),
        ("run/", "run", r"there is no checkpoint in .*run/checkpoints\. .*'\S+run' is empty\."),
        ("run/config.yaml", "run", r"they were deleted, .*run' holds 'config\.yaml'"),
        ("run/checkpoints/", "run", r"they were deleted, .*checkpoints' is empty\."),
        ("run/checkpoints/", "run/checkpoints/last.ckpt", r"there is no checkpoint in .*empty"),
        ("run/checkpoints/epoch3.ckpt", "run", r"checkpoints' holds 'epoch3\.ckpt'"),
        (
            "runs/1/checkpoints/last.ckpt runs/2/checkpoints/best.ckpt runs/3/x",
            "runs",
            r"resume=\S+runs: that is no run but a folder of 2, such as '1', '2'; give one\.",
        ),
    ],
)
def test_what_is_there_instead_is_said(tmp_path, files, wanted, message):
    for name in files.split():
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True)
        if not name.endswith("/"):
            path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=message):
        find_start(tmp_path / wanted)
