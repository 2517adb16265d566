import codecs

import pytest

from tasks.common.files.paths import files_below, is_hidden
from tasks.common.files.text import read_json, read_text


@pytest.mark.parametrize(
    "content",
    [
        "Zelle,Größe".encode(),
        codecs.BOM_UTF8 + "Zelle,Größe".encode(),
        codecs.BOM_UTF16_LE + "Zelle,Größe".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "Zelle,Größe".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "Zelle,Größe".encode("utf-32-le"),
    ],
)
def test_a_byte_order_mark_tells_the_encoding_and_is_left_out(tmp_path, content):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    assert read_text(file) == "Zelle,Größe"


def test_another_encoding_is_refused_with_file_line_and_byte(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes("a\nGröße".encode("latin-1"))
    with pytest.raises(ValueError, match=r"names\.txt: line 2 has the byte 0xf6.*not UTF-8"):
        read_text(file)


def test_json_with_a_mark_is_read_and_broken_json_is_placed(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(codecs.BOM_UTF8 + b'{"a": [1]}')
    assert read_json(file) == {"a": [1]}
    file.write_text('{\n"a" 1}')
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON at line 2, column 5"):
        read_json(file)


def test_litter_is_no_data(tmp_path):
    for name in (
        "b/2.JPG",
        "1.jpg",
        "._1.jpg",
        ".DS_Store",
        "Thumbs.db",
        "__MACOSX/1.jpg",
        "a.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = files_below(tmp_path, suffixes=(".jpg", ".db"))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["1.jpg", "b/2.JPG"]
    assert not is_hidden(tmp_path / ".hidden" / "1.jpg")
