from pathlib import Path

import pytest

from tasks.common.paths import check_output, existing_file, existing_folder, hint, listed


def test_names_beyond_the_limit_are_counted():
    assert listed(list("abcdef"), limit=2) == "'a', 'b' and 4 more"
    assert listed(["a"], limit=2) == "'a'"
    assert listed([]) == ""


def test_the_nearest_name_ignores_case():
    assert hint("wbc", ["RBC", "WBC"]) == " (nearest: 'WBC')"
    assert hint("zebra", ["RBC", "WBC"]) == ""


def test_what_exists_is_returned(tmp_path):
    file = tmp_path / "a.json"
    file.touch()

    assert existing_file(file, what="file") == file
    assert existing_folder(tmp_path, what="folder") == tmp_path


def test_a_missing_file_names_its_neighbours_and_the_nearest(tmp_path):
    (tmp_path / "instances_train.json").touch()

    with pytest.raises(
        FileNotFoundError,
        match=r"annotation file .*does not exist.*"
        r"holds 'instances_train.json' \(nearest: 'instances_train.json'\)",
    ):
        existing_file(tmp_path / "instances_tran.json", what="annotation file")


def test_a_missing_path_names_the_deepest_folder_there_is(tmp_path):
    (tmp_path / "images").mkdir()

    with pytest.raises(FileNotFoundError, match=rf"'{tmp_path}' holds 'images'\."):
        existing_folder(tmp_path / "no" / "such", what="image folder")


def test_a_relative_path_that_is_missing_is_looked_for_from_here(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(FileNotFoundError, match="holds 'images'"):
        existing_folder(Path("data/images"), what="image folder")


def test_a_folder_is_not_a_file_nor_a_file_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is a folder; expected a file.*is empty"):
        existing_file(tmp_path, what="annotation file")

    file = tmp_path / "a.json"
    file.touch()
    with pytest.raises(FileNotFoundError, match=r"is a file; expected a folder.*holds 'a.json'"):
        existing_folder(file, what="image folder")


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
