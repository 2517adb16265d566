import unicodedata

import pytest

from tasks.detection.data.layouts.voc_files import VocFiles, read_image_sets
from tests.backbones.errors import refuses


@pytest.fixture
def files(tmp_path):
    def make(annotations, images=()):
        for folder, names in (("Annotations", annotations), ("JPEGImages", images)):
            (tmp_path / folder).mkdir(exist_ok=True)
            for name in names:
                (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / folder / name).touch()
        return VocFiles(tmp_path / "Annotations", tmp_path / "JPEGImages")

    return make


def found(files, line):
    (file,) = files.named([line], where="train.txt")
    return file.relative_to(files.folder).as_posix()


LINES = {
    "0001.xml": [
        *("0001", "0001.jpg", "0001.JPEG", "0001.xml"),
        *("JPEGImages/0001", "JPEGImages/0001.jpg", "./JPEGImages/0001.jpg"),
        *(r"JPEGImages\0001.jpg", r"C:\data\JPEGImages\0001.jpg", "/data/VOC/JPEGImages/0001.jpg"),
        *("Annotations/0001.xml", "./JPEGImages/0001.jpg ./Annotations/0001.xml"),
        *("0001 1", "0001  -1", "0001\t0", "0001.jpg 1"),
    ],
    "0001.XML": ["0001", "0001.xml"],
    "a.jpg.xml": ["a", "a.jpg", "a.jpg.xml"],
    "leaf (1).xml": ["leaf (1)", "leaf (1).jpg", "leaf (1) 1"],
    "leaf 1.xml": ["leaf 1", "leaf 1 -1"],
    "frame.12.xml": ["frame.12"],
    "site/0001.xml": ["site/0001", "0001", "JPEGImages/site/0001.jpg"],
    unicodedata.normalize("NFD", "é.xml"): [unicodedata.normalize("NFC", "é")],
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_a_list_finds_its_file(files, name):
    there = files([name, "other.xml"])
    for line in LINES[name]:
        assert found(there, line) == name, line


def test_of_two_files_the_one_that_fits_best_is_taken(files):
    there = files(["leaf.xml", "leaf 1.xml", "a.xml", "a.jpg.xml", "x/b.xml", "y/b.xml"])
    assert found(there, "leaf 1") == "leaf 1.xml"
    assert found(there, "leaf -1") == "leaf.xml"
    assert found(there, "a") == "a.xml"
    assert found(there, "a.jpg") == "a.jpg.xml"
    assert found(there, "JPEGImages/y/b.jpg") == "y/b.xml"
    with refuses(r"train.txt: 'b' stands for 2 files below .*x/b.xml'"):
        there.named(["b"], where="train.txt")


def test_names_without_a_file_are_counted_and_shown_as_they_stand(files):
    there = files(["0001.xml"])
    message = r"train.txt: 2 of 3 annotation files do not exist below .*: 'images/000l', 'x'"
    with pytest.raises(FileNotFoundError, match=message):
        there.named(["0001", "images/000l 1", "x"], where="train.txt")


def test_hidden_files_are_passed_over(files):
    there = files(
        ["0003.xml", "._0003.xml", ".DS_Store", "__MACOSX/0003.xml"],
        ["0003.jpg", "._0003.jpg", "Thumbs.db", ".cache/0003.jpg"],
    )
    assert [file.name for file in there.files] == ["0003.xml"]
    assert there.picture(there.files[0], "") == there.images / "0003.jpg"


@pytest.mark.parametrize(
    ("annotation", "images", "stated", "image"),
    [
        ("a.xml", ["a.JPG", "b.jpg"], "", "a.JPG"),
        ("a.xml", ["a.jpg", "a.png"], "", "a.jpg"),
        ("a.xml", ["a.jpg", "a.png"], "a.png", "a.png"),
        ("a.jpg.xml", ["a.jpg", "a.png"], "", "a.jpg"),
        ("a.jpg.xml", ["a.png"], "", "a.png"),
        ("sub/a.xml", ["sub/a.jpg", "other/a.jpg"], "", "sub/a.jpg"),
        ("sub/a.xml", ["a.jpg"], "", "a.jpg"),
        ("a.xml", ["sub/a.jpg"], "", "sub/a.jpg"),
        ("a.xml", ["b.jpg"], "b.jpg", "b.jpg"),
        ("a.xml", ["sub/b.jpg"], r"C:\data\sub\b.jpg", "sub/b.jpg"),
        ("a.xml", ["a.jpg", "b.jpg"], "b.jpg", "a.jpg"),
        ("a.xml", ["b.jpg"], "", "a.jpg"),
        ("a.jpg.xml", ["b.jpg"], "", "a.jpg"),
    ],
)
def test_the_image_of_an_xml_file_is_that_of_its_name(files, annotation, images, stated, image):
    there = files([annotation], images)
    assert there.picture(there.files[0], stated) == there.images / image


def test_an_image_in_two_folders_is_refused(files):
    there = files(["a.xml"], ["x/a.jpg", "y/a.jpg"])
    with refuses(r"a.xml: 2 images below .* have its name: 'x/a.jpg', 'y"):
        there.picture(there.files[0], "")


@pytest.fixture
def lists(tmp_path):
    def write_and_read(folder="ImageSets/Main", **texts):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / folder / f"{name}.txt").write_bytes(content)
        return read_image_sets(tmp_path)

    return write_and_read


def test_lists_have_a_name_a_line(lists):
    sets = lists(
        train="0001\r\nleaf (1)\r\n\r\n# from camera 2\r\n  0003  1\r\n0001\r\n0001",
        val=b"\xef\xbb\xbf0004\n0005",
        test="0006\n".encode("utf-16"),
    )
    train = ["0001", "leaf (1)", "0003  1"]
    assert sets.lists == {"train": train, "val": ["0004", "0005"], "test": ["0006"]}
    assert sets.repeated == {"train": "train.txt names 2 images again: each is taken once"}
    with refuses(r"train.txt: line 2 has the byte 0xe9, which is not UTF"):
        lists(train="a\ncaf\xe9\n".encode("latin-1"))


def test_names_in_two_folders_are_not_taken_for_one_file(files):
    below = files(["b/0001.xml", "b/0002.xml"])
    with refuses(r"'a/0001' and 'b/0001' both stand for 'b/0001.xml'"):
        below.named(["a/0001", "b/0001"], where="train.txt")
    with refuses(r"both stand for 'b/0002.xml'.*add the missing one"):
        below.named(["b/0002.jpg", r"C:\a\0002.jpg"], where="train.txt")
    same = ["0001", "b/0001.jpg", "JPEGImages/b/0001", r".\JPEGImages\b\0001.jpg"]
    assert len(below.named(same, where="train.txt")) == 1


def test_lists_may_lie_in_imagesets_itself_and_need_not_be_there(lists, tmp_path):
    assert read_image_sets(tmp_path).lists == {}
    with refuses(r"has the lists 'cat.txt'; expected train.txt and"):
        lists(folder="ImageSets", cat="a 1")
    assert lists(folder="ImageSets", train="a", val="b").lists == {"train": ["a"], "val": ["b"]}
    assert lists(train="c", val="d", cat_train="c 1").lists == {"train": ["c"], "val": ["d"]}
