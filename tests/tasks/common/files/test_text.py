import codecs

import pytest

from tasks.common.files.text import read_json, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding_and_is_left_out(tmp_path, encoding):
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""  # the others write theirs
    (tmp_path / "a.txt").write_bytes(mark + "Zelle,Größe".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "Zelle,Größe"


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
