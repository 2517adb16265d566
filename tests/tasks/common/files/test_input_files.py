"""Which files a command line names, and what their outputs are called."""

import os
from pathlib import Path

import pytest

from tasks.common.files.input_files import SkippedError, find_files, output_names, refuse_same

SUFFIXES = (".jpg", ".png", ".nii.gz", ".nii")
EVERYTHING = ["a/1.jpg", "b/1.jpg", "b/2.JPG", "b/deep/er/3.png", "set[1]/x[1].png"]
OTHERS = ["b/notes.txt", "b/._1.jpg", "b/Thumbs.db", ".cache/h.jpg", "__MACOSX/m.jpg"]


@pytest.fixture(autouse=True)
def _tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (*EVERYTHING, *OTHERS):
        Path("src", name).parent.mkdir(parents=True, exist_ok=True)
        Path("src", name).touch()
    Path("src/empty").mkdir()


def names(*sources, **options):
    return [file.name for file in find_files(sources, suffixes=SUFFIXES, **options)]


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (["src"], EVERYTHING),
        (["src/"], EVERYTHING),
        (["src/a/.."], EVERYTHING),
        (["src/b"], ["1.jpg", "2.JPG", "deep/er/3.png"]),
        (["src/b/1.jpg"], ["1.jpg"]),
        (["src/a/1.jpg", "src/b/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["src/b", "src/a"], ["b/1.jpg", "b/2.JPG", "b/deep/er/3.png", "a/1.jpg"]),
        (["src/b/2.JPG", "./src/b/2.JPG", "src/a/../b/2.JPG", Path("src/b/2.JPG")], ["2.JPG"]),
        (["src/b/1.jpg", "src"], ["b/1.jpg", *(n for n in EVERYTHING if n != "b/1.jpg")]),
        (["src/*/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["src/?/*"], ["a/1.jpg", "b/1.jpg", "b/2.JPG", "b/deep/er/3.png"]),
        (["src/**/*.png"], ["b/deep/er/3.png", "set[1]/x[1].png"]),
        (["src/b/[12].*"], ["1.jpg", "2.JPG"]),
        (["src/set[1]"], ["x[1].png"]),
        (["src/set[1]/x[1].png"], ["x[1].png"]),
        (["src/set[1]/*.png"], ["x[1].png"]),
        (["src/.cache"], ["h.jpg"]),
        (["src/b/Thumbs.db", "src/b/1.jpg", "src/b/notes.txt"], ["1.jpg", "notes.txt"]),
    ],
)
def test_files_are_called_by_their_path_below_the_folder_of_all(sources, found):
    assert names(*sources) == found


def test_a_pattern_in_the_home_folder_and_absolute_paths_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names("~/src/a/*.jpg") == names("~/src/a/1.jpg") == ["1.jpg"]
    assert names(tmp_path / "src" / "*" / "1.jpg") == ["a/1.jpg", "b/1.jpg"]


def test_a_name_that_is_no_text_can_be_printed():
    try:
        Path(os.fsdecode(b"src/a/b\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes text alone")
    assert names("src/a") == ["1.jpg", "b\\udcff.png"]


def test_a_link_keeps_its_own_name(tmp_path):
    Path("linked").symlink_to(tmp_path / "src" / "b")
    assert names("linked") == ["1.jpg", "2.JPG", "deep/er/3.png"]


def test_what_was_written_before_is_no_source_unless_it_is_named():
    Path("src/overlays/b").mkdir(parents=True)
    Path("src/overlays/b/1.png").touch()
    assert names("src", written=[Path("src/overlays")]) == EVERYTHING
    assert names("src/overlays", written=[Path("src/overlays")]) == ["b/1.png"]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["nowhere"], r"no file or folder 'nowhere'\. .* holds 'src'"),
        (["src/b/1.jpeg"], r"no file or folder 'src/b/1.jpeg'\. .*nearest: '1.jpg'"),
        (["src/empty"], r"no image in 'src/empty'; expected files that end in .jpg, .* is empty"),
        (["src/a", "src/empty"], "no image in 'src/empty'"),
        (["src/*.gif"], r"no image in 'src/\*.gif'; expected .*src' holds"),
        (["src/b/Thumbs.db"], "no image among 'src/b/Thumbs.db'"),
    ],
)
def test_a_source_without_images_is_an_error(sources, message):
    with pytest.raises(FileNotFoundError, match=message):
        names(*sources)


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("a.jpg b/a.jpg A/c.png v.nii.gz x.y.png notes.txt", "a b/a A/c v x.y notes.txt"),
        ("a.jpg a.png", "a.jpg a.png"),
        ("A.jpg a.png", "A.jpg a.png"),
        ("v.nii v.nii.gz", "v.nii v.nii.gz"),
        # The suffix that a.jpg keeps makes it the stem of another file.
        ("a.jpg a.png a.jpg.png", "a.jpg a.png a.jpg.png"),
        ("b/a.jpg B/a.png a.jpg", "b/a.jpg B/a.png a"),
    ],
)
def test_outputs_keep_the_suffix_where_they_would_replace_each_other(given, called):
    assert output_names(given.split(), suffixes=SUFFIXES) == called.split()


@pytest.mark.parametrize("given", [["a.jpg", "A.jpg"], ["b/a.jpg", "B/a.jpg"]])
def test_names_that_differ_in_large_and_small_letters_only_are_refused(given):
    with pytest.raises(ValueError, match=rf"of '{given[0]}' and '{given[1]}', would be called"):
        output_names(given, suffixes=SUFFIXES)


def test_outputs_of_one_file_may_not_replace_each_other():
    with pytest.raises(ValueError, match=r"of 'a', would be called 'a_x-y'"):
        refuse_same({"a": ["a_x-y", "a_x-y"]})
    refuse_same({"a": ["a_x", "a_y"], "b": ["b_x", "b_y"]})


def test_the_error_of_skipped_files_says_where_the_others_are():
    faults, cut = {"b/2.jpg": ValueError("it is truncated")}, {"c.avi": "ends after 3 of 9 frames"}
    assert str(SkippedError(faults, {}, total=3, output=Path("out"))) == (
        "1 of 3 files were skipped: 'b/2.jpg'; everything else is in out. The first: it is "
        "truncated"
    )
    assert "nothing is written" in str(SkippedError(faults, {}, total=1, output=Path("out")))
    said = str(SkippedError({}, cut, total=1, output=Path("out")))
    assert said == (
        "1 of 1 files are cut short: 'c.avi' ends after 3 of 9 frames; everything else is in out."
    )
