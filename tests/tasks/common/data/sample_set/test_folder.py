"""The folder of a generated data set: complete or absent, and nobody else's is touched."""

import json
from pathlib import Path

import pytest

from tasks.common.data.sample_set.folder import sample_settings, write_once


def settings(images=None, **changes):
    options = {"generator": "toy", "version": 1, "size": 64, "seed": 0} | changes
    return sample_settings({"train": 2} if images is None else images, **options)


def files(settings):
    return {f"images/{i}.txt" for i in range(settings["images"]["train"])}


def fill(root, images=None, **changes):
    """Write a folder whose files hold the seed."""
    wanted = settings(images, **changes)

    def write(folder):
        (folder / "images").mkdir()
        for name in sorted(files(wanted)):
            (folder / name).write_text(f"seed {wanted['seed']}")

    write_once(root, wanted, files=files, write=write)
    return root


def contents(root):
    """The bytes of every file in a folder."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def hidden(folder):
    return list(folder.glob(".*"))


@pytest.fixture
def root(tmp_path):
    """A complete folder."""
    return fill(tmp_path / "sample")


def test_the_folder_holds_its_files_and_its_settings(tmp_path):
    found = contents(fill(tmp_path / "new" / "sample", seed=3))
    common = {"generator": "toy", "version": 1, "images": {"train": 2}}
    assert json.loads(found.pop("sample.json")) == {**common, "size": 64, "seed": 3}
    assert found == {"images/0.txt": b"seed 3", "images/1.txt": b"seed 3"}
    assert hidden(tmp_path / "new") == []


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"size": 96}, {"version": 2}, {"images": {"train": 1}}]
)
def test_other_settings_replace_the_folder(root, tmp_path, change):
    fill(root, **change)
    assert contents(root) == contents(fill(tmp_path / "fresh", **change))
    assert hidden(tmp_path) == []


def test_only_an_incomplete_folder_is_written_anew(tmp_path):
    assert len(contents(fill(tmp_path))) == 3  # it was empty
    complete = contents(tmp_path)
    (tmp_path / "images" / "0.txt").write_text("touched")
    fill(tmp_path)
    assert (tmp_path / "images" / "0.txt").read_text() == "touched"
    (tmp_path / "images" / "1.txt").unlink()
    assert contents(fill(tmp_path)) == complete


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "sample").symlink_to(tmp_path / "far", target_is_directory=True)
    assert fill(tmp_path / "sample").is_symlink()
    assert len(contents(tmp_path / "far")) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [("mine.txt", "mine"), ("sample.json", "{"), ("sample.json", "[1]"), ("sample.json", "{}")],
)
def test_a_foreign_folder_is_refused_and_kept(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(FileExistsError, match=rf"holds '{name}', which the sample generator did"):
        fill(tmp_path)
    with pytest.raises(FileExistsError, match=rf"{name} is a file, which the sample generator"):
        fill(tmp_path / name)
    assert contents(tmp_path) == {name: text.encode()}


@pytest.mark.parametrize("change", [{}, {"seed": 1}])
def test_a_foreign_file_in_an_incomplete_or_older_folder_is_not_deleted(root, change):
    (root / "images" / "1.txt").unlink()
    (root / "images" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds 'images/notes.txt', .* name another folder"):
        fill(root, **change)
    assert (root / "images" / "notes.txt").read_text() == "mine"


def test_the_folder_of_another_generator_is_foreign(root):
    before = contents(root)
    with pytest.raises(FileExistsError, match=r"holds 'images/0.txt', which the sample"):
        fill(root, generator="other")
    assert contents(root) == before


def test_a_crash_half_way_leaves_nothing_behind(root):
    before = contents(root)

    def full_disk(folder):
        (folder / "half.txt").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_once(root, settings(seed=1), files=files, write=full_disk)
    assert contents(root) == before
    assert hidden(root.parent) == []


def test_two_writers_at_once_end_with_one_complete_folder(tmp_path, monkeypatch):
    root, twin = tmp_path / "sample", fill(tmp_path / "twin")
    expected, real = contents(twin), Path.rename

    def quicker_other(path, target):
        if path.suffix == ".partial" and not root.exists():
            real(twin, root)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", quicker_other)
    assert contents(fill(root)) == expected
    assert hidden(tmp_path) == []


def test_a_folder_that_another_process_completed_meanwhile_is_kept(tmp_path):
    root, kept = tmp_path / "sample", []

    def slower(folder):
        kept.append(fill(root).stat().st_ino)
        fill(folder)

    write_once(root, settings(), files=files, write=slower)
    assert [root.stat().st_ino] == kept


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ({"../train": 2}, {}, r"images has '\.\./train': 2; expected an identifier"),
        ({"train": 0}, {}, r"images has 'train': 0; expected an identifier and at least 1"),
        ({}, {}, r"got 0 splits"),
        ({"train": 1}, {"size": 63}, r"size=63 .* at least one split, size 64 or more"),
        ({"train": 1}, {"seed": -1}, r"seed=-1; expected .* seed 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(images, changes, message):
    with pytest.raises(ValueError, match=message):
        settings(images, **changes)
