from pathlib import Path

import pytest

from tasks.common.files.paths import (
    check_output,
    existing_file,
    existing_folder,
    files_below,
    hint,
    is_hidden,
    listed,
    name_here,
    named_file,
)


def test_names_beyond_the_limit_are_counted_and_the_nearest_ignores_case():
    assert listed(list("abcdef"), limit=2) == "'a', 'b' and 4 more"
    assert listed(["a"], limit=2) == "'a'"
    assert listed([]) == ""
    assert hint("wbc", ["RBC", "WBC"]) == " (nearest: 'WBC')"
    assert hint("zebra", ["RBC", "WBC"]) == ""


@pytest.mark.parametrize(
    ("find", "path", "message"),
    [
        (existing_file, "train.json", None),
        (existing_folder, "images", None),
        (
            existing_file,
            "tran.json",
            r"thing .*tran.json' does not exist.* holds 'images', 'train.json' \(nearest: 'train.j",
        ),
        (existing_folder, "{here}/no/such", r"'{here}' holds 'images', 'train.json'\."),
        (existing_folder, "data/images", "holds 'images'"),
        (existing_file, "images", r"is a folder; expected a file.*is empty"),
        (existing_folder, "train.json", r"is a file; expected a folder.*holds .* 'train.json'"),
    ],
)
def test_a_missing_path_tells_what_is_there(tmp_path, monkeypatch, find, path, message):
    monkeypatch.chdir(tmp_path)
    Path("train.json").touch()
    Path("images").mkdir()
    path = Path(path.format(here=tmp_path))
    if message is None:
        assert find(path, what="thing") == path
        return
    with pytest.raises(FileNotFoundError, match=message.format(here=tmp_path)):
        find(path, what="thing")


def test_an_output_that_holds_something_is_not_written_over(tmp_path):
    """A data set's own folder of masks looks just like that of a prediction."""
    check_output(tmp_path / "new", overwrite=False)
    check_output(tmp_path, overwrite=False)
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match="is not empty, and files of the same names would be"):
        check_output(tmp_path, overwrite=False)
    check_output(tmp_path, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; give a folder"):
        check_output(tmp_path / "file", overwrite=True)


@pytest.fixture
def pictures(tmp_path):
    """A folder ``images`` with a few files that are hard to name."""
    for name in ("1.jpg", "sub/2.jpg", "my scan.jpg", "Big.JPG", "caf\u00e9.png", "../masks/3.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def test_a_backslash_is_a_slash_where_that_is_the_file(pictures):
    assert name_here(pictures, r"sub\2.jpg") == "sub/2.jpg"
    assert name_here(pictures, r"sub\9.jpg") == r"sub\9.jpg"
    assert named_file(pictures, r".\sub\2.jpg", what="image") == pictures / "sub" / "2.jpg"
    above = named_file(pictures, "../masks/3.png", what="mask")
    assert above.samefile(pictures.parent / "masks" / "3.png")
    (pictures / r"sub\2.jpg").touch()  # a name that only looks like a path
    assert name_here(pictures, r"sub\2.jpg") == r"sub\2.jpg"


@pytest.mark.parametrize(
    ("name", "found", "advice"),
    [
        ("images/1.jpg", "1.jpg", "or give '{above}' as the folder"),
        (r"images\1.jpg", "1.jpg", "or give '{above}' as the folder"),
        ("../x/1.jpg", "1.jpg", "write the paths as they are in there"),
        (r"..\x\1.jpg", "1.jpg", "write the paths as they are in there"),
        ("2.jpg", "sub/2.jpg", "write the paths as they are in there"),
        (r"C:\data\1.jpg", "1.jpg", "write the paths as they are in there"),
        ("C:/data/1.jpg", "1.jpg", "write the paths as they are in there"),
        (r"\\server\share\1.jpg", "1.jpg", "write the paths as they are in there"),
        ("/no/such/1.jpg", "1.jpg", "write the paths as they are in there"),
        ("file:///no/such/1.jpg", "1.jpg", "write the paths as they are in there"),
        ("my%20scan.jpg", "my scan.jpg", "codes such as %20 are not read"),
        ("x/my%20scan.jpg", "my scan.jpg", "codes such as %20 are not read"),
        ("1.JPG", "1.jpg", "capital and small letters differ"),
        ("big.jpg", "Big.JPG", "capital and small letters differ"),
        ("cafe\u0301.png", "caf\u00e9.png", "the form of accents differ"),
        ("1.jpg ", "1.jpg", "spaces or the form"),
        ("1.png", "1.jpg", "'1.png' has another suffix"),
    ],
)
def test_a_missing_file_is_shown_where_it_was_found(pictures, name, found, advice):
    with pytest.raises(FileNotFoundError) as caught:
        named_file(pictures, name, what="image")
    said = str(caught.value)
    assert said.startswith(f"image '{name}' does not exist")
    assert f"; '{pictures}' holds '{found}': " in said
    assert advice.format(above=pictures.parent) in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("masks/3.png", "but below '{above}'; give that"),
        ("7.jpg", r"image '7\.jpg' does not exist below .* holds '1"),
        ("sub", r"image 'sub' is a folder below .*; expected a file"),
        ("x" * 5000, "does not exist below"),
        ("a\0b.jpg", "does not exist below"),
    ],
    ids=["beside", "nowhere", "folder", "too_long", "zero"],
)
def test_a_file_that_is_not_below_the_folder_tells_what_there_is(pictures, name, message):
    with pytest.raises(FileNotFoundError, match=message.format(above=pictures.parent)):
        named_file(pictures, name, what="image")


def test_litter_is_no_data(tmp_path):
    left = ("._1.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/1.jpg")
    for name in ("b/2.JPG", "1.jpg", "a.txt", *left):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = files_below(tmp_path, suffixes=(".jpg", ".db"))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["1.jpg", "b/2.JPG"]
    assert not is_hidden(tmp_path / ".hidden" / "1.jpg")
