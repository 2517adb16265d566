import pytest

from tasks.detection.data.layouts.voc import read_xml

BODY = "<annotation><object><name>{}</name></object></annotation>"


def written(tmp_path, text, encoding, declared=None, mark=b""):
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    file = tmp_path / "a.xml"
    file.write_bytes(mark + (head + BODY.format(text)).encode(encoding))
    return file


@pytest.mark.parametrize(
    ("text", "encoding", "declared", "mark"),
    [
        ("Zürich", "utf-8", None, b""),
        ("Zürich", "utf-8", "UTF-8", b""),
        ("Zürich", "utf-8", None, b"\xef\xbb\xbf"),
        ("Zürich", "utf-8", "UTF-8", b"\xef\xbb\xbf"),
        ("Zürich", "latin-1", "ISO-8859-1", b""),
        ("Zürich", "latin-1", "Latin-1", b""),
        ("10 € Zürich™", "cp1252", "windows-1252", b""),
        ("樱桃", "gb2312", "GB2312", b""),
        ("樱桃", "gb2312", "gb2312", b""),
        ("鎔镕", "gbk", "gb2312", b""),  # which have no place in GB2312 itself
        ("鎔镕", "gbk", "GBK", b""),
        ("㐀樱", "gb18030", "GB18030", b""),
        ("桜①", "cp932", "Shift_JIS", b""),
        ("桜", "shift_jis", "Shift-JIS", b""),
        ("桜", "euc_jp", "EUC-JP", b""),
        ("櫻", "big5", "Big5", b""),
        ("벚꽃", "euc_kr", "EUC-KR", b""),
        ("вишня", "koi8_r", "KOI8-R", b""),
        ("вишня", "cp1251", "windows-1251", b""),
        ("樱桃", "utf-16", "UTF-16", b""),  # Python writes a byte order mark
        ("樱桃", "utf-16", None, b""),
        ("樱桃", "utf-16-le", "UTF-16", b""),
        ("樱桃", "utf-16-be", None, b""),
        ("樱桃", "utf-32", None, b""),
        ("樱桃", "utf-8", "utf-16", b""),  # as .NET's StringWriter declares it
        ("樱桃", "utf-8", "utf-16", b"\xef\xbb\xbf"),
    ],
)
def test_a_file_is_read_in_the_encoding_that_it_declares(tmp_path, text, encoding, declared, mark):
    file = written(tmp_path, text, encoding, declared, mark)

    assert read_xml(file).findtext("object/name") == text


def test_single_quotes_and_other_attributes_may_surround_the_declaration(tmp_path):
    file = tmp_path / "a.xml"
    head = "<?xml version='1.0' encoding='ISO-8859-1' standalone='yes'?>"
    file.write_bytes((head + BODY.format("é")).encode("latin-1"))

    assert read_xml(file).findtext("object/name") == "é"


@pytest.mark.parametrize(
    ("encoding", "declared", "message"),
    [
        ("latin-1", None, r"a.xml: line 1 has the byte 0xe9, which is not UTF-8; expected UTF-8"),
        ("latin-1", "UTF-8", r"a.xml: line 2 has the byte 0xe9, which is not UTF-8"),
        ("latin-1", "Shift_JIS", r"a.xml: line 2 has the byte 0xe9, which is not CP932"),
        ("utf-8", "x-user-defined", r"a.xml: declares the encoding 'x-user-defined', which is"),
        ("utf-8", "", r"a.xml: not valid XML at line 1"),
        ("utf-8", "ansi", r"a.xml: declares the encoding 'ansi', which is none of text"),
        ("utf-8", "hex", r"a.xml: declares the encoding 'hex', which is none of text"),
        ("utf-8", "unicode_escape", r"declares the encoding 'unicode_escape', which is none"),
        ("utf-8", "utf-7", r"declares the encoding 'utf-7', which is none of text"),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused_with_the_file(
    tmp_path, encoding, declared, message
):
    file = written(tmp_path, "café", encoding, declared)
    if declared == "":
        file.write_bytes(b'<?xml version="1.0" encoding?>' + BODY.encode())

    with pytest.raises(ValueError, match=message):
        read_xml(file)


def test_an_xml_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations><image/></annotations>")

    with pytest.raises(ValueError, match=r"a.xml: the outer element is <annotations>; expected"):
        read_xml(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a.xml: not valid XML at line 1, column 0"):
        read_xml(tmp_path / "a.xml")
