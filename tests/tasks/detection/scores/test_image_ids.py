"""Ids of a COCO file for image files, by their whole paths."""

import json
from pathlib import Path

import pytest

from tasks.common.files.input_files import NamedFile
from tasks.detection.scores.image_ids import match_ids, read_image_ids
from tests.backbones.errors import refuses


def files(*names, root="/data/set"):
    return [NamedFile(path=Path(root, name), name=name) for name in names]


def matched(names, ids, root="/data/set"):
    return match_ids(files(*names, root=root), ids)[0]


TWO = {"a/1.jpg": 11, "b/1.jpg": 22}


@pytest.mark.parametrize(
    ("names", "ids", "expected"),
    [
        (["a/1.jpg", "b/1.jpg"], TWO, [11, 22]),
        (["b/1.jpg", "a/1.jpg"], TWO, [22, 11]),
        (["a/1.jpg"], {"a\\1.jpg": 11, "b\\1.jpg": 22}, [11]),
        (["a/1.jpg"], {"./a/1.jpg": 11, "./b/1.jpg": 22}, [11]),
        (["a/1.jpg"], {"../images/a/1.jpg": 11, "../images/b/1.jpg": 22}, [11]),
        (["a/1.jpg"], {"C:\\data\\a\\1.jpg": 11, "C:\\data\\b\\1.jpg": 22}, [11]),
        (["a/1.jpg"], {"/elsewhere/a/1.jpg": 11, "/elsewhere/b/1.jpg": 22}, [11]),
        (["a/1.jpg", "1.jpg"], {"1.jpg": 5, "a/1.jpg": 11}, [11, 5]),
        (["a/1.jpg", "b/2.jpg"], {"1.jpg": 5, "2.jpg": 6}, [5, 6]),  # base names, folders on disk
        (["1.jpg"], {"x/1.jpg": 7, "x/2.jpg": 8}, [7]),  # folders in the file only
        (["cafe\u0301.jpg"], {"caf\u00e9.jpg": 3}, [3]),  # as macOS and as others spell it
    ],
)
def test_the_whole_path_decides(names, ids, expected):
    assert matched(names, ids) == expected


@pytest.mark.parametrize(("folder", "number"), [("a", 11), ("b", 22)])
def test_of_one_folder_its_own_name_decides(folder, number):
    assert matched(["1.jpg"], TWO, root=f"/data/{folder}") == [number]
    with_own = TWO | {"1.jpg": 5}
    assert matched(["1.jpg"], with_own, root=f"/data/{folder}") == [number]
    assert matched(["1.jpg"], with_own, root="/data/c") == [5]


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["1.jpg"], TWO, r"'1.jpg' may be 'a/1.jpg' or 'b/1.jpg' of the annotation file"),
        (["a/1.jpg", "b/1.jpg"], {"1.jpg": 5}, r"'a/1.jpg' and 'b/1.jpg' both fit '1.jpg'"),
        (["b/1.jpg"], {"a/1.jpg": 11}, r"1 of 1 files are not in .*'b/1.jpg' \(nearest: 'a/1.jpg'"),
        (["a/1.jpg", "1.jpg"], {"a/1.jpg": 11}, r"1 of 2 files are not in .*'1.jpg'"),
        (["1.JPG"], {"1.jpg": 1}, r"1 of 1 files are not in .*'1.JPG'"),
        (["1.jpg"], {"a/1.jpg": 1, "a\\1.jpg": 2}, r"'a/1.jpg' and 'a\\\\1.jpg' .* are one path"),
    ],
)
def test_what_is_not_certain_is_an_error(names, ids, message):
    with refuses(message):
        matched(names, ids)


def test_a_match_by_the_end_of_the_file_name_is_reported():
    _, note = match_ids(files("1.jpg", "2.jpg"), {"x/1.jpg": 1, "2.jpg": 2})
    example = "such as '1.jpg' by 'x/1.jpg'"
    assert note == f"1 of 2 images are matched by the end of their file_name, {example}"
    assert match_ids(files("a/1.jpg"), TWO)[1] == ""


def write(folder, entries, encoding="utf-8"):
    file = folder / "a.json"
    file.write_text(json.dumps({"images": entries}, ensure_ascii=False), encoding=encoding)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_ids_are_read_in_unicode_and_other_encodings_refused(tmp_path, encoding):
    entries = [{"file_name": "a/é.jpg", "id": 7}, {"file_name": "b\\1.jpg", "id": 640.0}]
    file = write(tmp_path, entries, encoding)
    if encoding == "latin-1":
        with refuses(r"a.json: line 1 has the byte 0xe9"):
            read_image_ids(file)
    else:
        assert read_image_ids(file) == {"a/é.jpg": 7, "b\\1.jpg": 640}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("1.jpg", 1), ("1.jpg", 2)], r"'1.jpg' has the id 2, and .* has the id 1; expected each"),
        ([("1.jpg", 1), ("2.jpg", 1)], r"'2.jpg' has the id 1, and '1.jpg' has the id 1"),
        ([("1.jpg", "1")], r"no COCO annotation file: .*'1.jpg' and the id '1'; expected"),
        ([("1.jpg", 1.5)], r"the id 1.5"),
        ([("1.jpg", float("nan"))], r"the id nan"),
        ([("", 1)], r"the file_name ''"),
        ([(None, 1)], r"the file_name None"),
    ],
)
def test_a_name_or_id_that_is_none_or_is_there_twice_is_refused(tmp_path, entries, message):
    file = write(tmp_path, [{"file_name": name, "id": number} for name, number in entries])
    with refuses(message):
        read_image_ids(file)


@pytest.mark.parametrize("content", ["{}", "[]", '{"images": 3}', '{"images": [7]}', "no json"])
def test_a_file_without_image_ids_or_that_is_missing_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    message = " is no COCO annotation file.*'file_name'"
    message = ": not valid JSON at line 1" if content == "no json" else message
    with refuses(f"a.json{message}"):
        read_image_ids(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"annotation file '.*b.json' does not exist"):
        read_image_ids(tmp_path / "b.json")
