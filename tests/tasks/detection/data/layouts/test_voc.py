from collections import defaultdict
from dataclasses import replace

import pytest

from tasks.detection.data.check import check_images
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.layouts.voc import read_voc, read_xml
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import voc_document as document
from tests.tasks.detection.conftest import voc_object as item


@pytest.fixture
def voc(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()

    def write_and_read(documents, **options):
        for name, text in documents.items():
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / "Annotations" / f"{name}.xml").write_bytes(content)
            (tmp_path / "JPEGImages" / f"{name}.jpg").touch()
        return read_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", **options)

    return write_and_read


TURNED = {"with corners put in order": 1}


@pytest.mark.parametrize(
    ("box", "one_based", "boxes", "cleaned"),
    [
        # Pixels 1 to 10 across are the first ten: from edge 0 to edge 10.
        ((1, 2, 10, 20), True, [[0, 1, 10, 20]], {}),
        ((0, 2.5, 10, 20), False, [[0, 2.5, 10, 20]], {}),
        ((10, 2, 1, 20), True, [[0, 1, 10, 20]], TURNED),
        ((1, 20, 10, 2), True, [[0, 1, 10, 20]], TURNED),
        ((10, 20, 1, 2), True, [[0, 1, 10, 20]], TURNED),
        ((10, 2, 1, 20), False, [[1, 2, 10, 20]], TURNED),
        ((1, 20, 10, 2), False, [[1, 2, 10, 20]], TURNED),
        ((10, 20, 1, 2), False, [[1, 2, 10, 20]], TURNED),
        ((5, 5, 5, 5), True, [], {"no area": 1}),  # a stray click
        ((5, 5, 9, 5), True, [], {"no area": 1}),
        ((5, 5, 5, 9), True, [], {"no area": 1}),
    ],
)
def test_corners_of_pixels_become_edges_from_zero(voc, box, one_based, boxes, cleaned):
    text = document(item(box=box), width="200.0")  # some tools write the width as a float
    annotations = voc({"a": text}, classes=["cat"], one_based=one_based)
    assert annotations.images[0].boxes.tolist() == boxes
    truth = [entry["bbox"] for entry in annotations.truth["annotations"]]
    assert truth == [[x, y, right - x, bottom - y] for x, y, right, bottom in boxes]
    assert annotations.cleaned == cleaned
    assert annotations.images[0].width == 200


def test_difficult_objects_are_scored_as_crowd_and_not_learnt(voc):
    hard = item("dog", extra="<difficult>1</difficult>")
    easy = item("cat", extra="<difficult>0</difficult>")
    annotations = voc({"a": document(hard, easy, item("cat"))})
    assert annotations.images[0].labels.tolist() == [1, 1]
    assert [entry["iscrowd"] for entry in annotations.truth["annotations"]] == [1, 0, 0]
    assert annotations.cleaned == {"difficult, kept for evaluation only": 1}


def test_classes_and_images_are_numbered_in_the_order_of_their_names(voc):
    two = document(item("dog"), item("cat"))
    annotations = voc({"b": two, "a": document(height="9"), "c": document()})
    assert list(annotations.classes) == ["cat", "dog"]
    assert list(annotations.category_ids) == [1, 2]
    images = [(record.path.name, record.image_id, record.height) for record in annotations.images]
    assert images == [("a.jpg", 1, 9), ("b.jpg", 2, 100), ("c.jpg", 3, 100)]
    assert annotations.images[1].labels.tolist() == [2, 1]


def test_names_choose_the_images_and_classes_the_labels(voc, tmp_path):
    documents = {"a": document(item("x")), "b": document(item("dog"))}
    annotations = voc(documents, names=["b"], classes=["dog", "cat"])
    assert [record.path.stem for record in annotations.images] == ["b"]
    assert list(annotations.classes) == ["dog", "cat"]
    assert annotations.images[0].labels.tolist() == [1]
    with pytest.raises(FileNotFoundError, match=r"1 of 2 annotation files .*: 'c'.*holds 'a.xml'"):
        voc({}, names=["a", "c"])
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    assert voc({}, names=["a"]).images[0].path.name == "a.jpg"


BOMB = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]>' + document(item("&z;"))
WIDTHS = document(*(item(box=(x, y, 15, 25)) for x in range(2, 160, 20) for y in (5, 60)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "a.xml: declares a document type"),
        (('<?xml version="1.0" encoding="utf-16"?>' + BOMB).encode("utf-16"), "a document type"),
        ("<annotation>\n<object></annotation>", "a.xml: not valid XML at line 2, column 1"),
        (document(item(""), item()), "a.xml: an object has no name"),
        (document(item(), width=""), "a.xml: width is '' in <size>; expected a whole number"),
        (document(item(), height="0"), "a.xml: height is '0' in <size>"),
        (document(item(), height="-3"), "height is '-3' in <size>"),
        (document(item(box=(1, 2, "x", 4))), "a.xml: object 'cat': xmax is 'x'; expected a number"),
        (document(item(keys=("a", "ymin", "xmax", "ymax"))), "object 'cat': xmin is None"),
        (document(), "Annotations: no objects in 1 files; expected at least one"),
        (WIDTHS, r"Annotations: \d+ of 16 boxes fit no image as \[x1, y1, x2, y2\], such"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place_and_the_value(voc, text, message):
    with refuses(message):
        voc({"a": text})


def test_objects_outside_the_classes_are_refused_with_the_nearest_class(voc):
    documents = {"a": document(item("cat")), "b": document(item("dgo"))}
    with refuses(r"b.xml: objects of 'dgo' \(nearest: 'dog'\); expected only 'cat', 'dog'"):
        voc(documents, classes=["cat", "dog"])


def test_missing_folders_and_empty_splits_are_refused(voc, tmp_path):
    with refuses(r"no XML files; .*is empty\. Expected one per image"):
        voc({})
    with refuses(r"names is empty. Expected at least one image"):
        voc({"a": document(item())}, names=[])
    with pytest.raises(FileNotFoundError, match=r"annotation folder .*holds 'Annotations'"):
        read_voc(tmp_path / "Annotation", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"image folder .*does not exist"):
        read_voc(tmp_path / "Annotations", tmp_path / "images")


@pytest.mark.parametrize(
    ("split", "images", "boxes", "clicks"),
    [("train", 205, 2804, 1), ("val", 87, 1137, 1), ("test", 72, 945, 0)],
)
def test_bccd_reads_the_same_from_xml_as_from_coco(real_data, split, images, boxes, clicks):
    """The counts are those of the data's README."""
    bccd = real_data("bccd")
    coco = read_coco(bccd / "annotations" / f"instances_{split}.json", bccd / "images")
    names = [record.path.stem for record in coco.images]
    folders = bccd / "voc_annotations", bccd / "images"
    voc = read_voc(*folders, names=names, classes=coco.classes)
    assert voc.cleaned.get("no area", 0) == clicks
    assert (len(coco.images), coco.num_boxes, voc.num_boxes) == (images, boxes, boxes)
    assert objects(voc) == objects(coco)
    few = replace(coco, images=coco.images[:7])
    assert len(check_images(few, policy="error").images) == 7


def objects(annotations):
    found = defaultdict(list)
    for record in annotations.images:
        size = (record.height, record.width)
        for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True):
            found[record.path.name, size].append((label, *box))
    return {name: sorted(boxes) for name, boxes in found.items()}


def test_two_files_of_one_image_are_refused(voc):
    text = document(item()).replace("<annotation>", "<annotation><filename>b.jpg</filename>")
    voc({"b": text})
    with refuses(r"a.jpg.xml and a.xml are both of the image 'a.jpg'"):
        voc({"a.jpg": text, "a": text})


BODY = "<annotation><object><name>{}</name></object></annotation>"


def written(tmp_path, text, encoding, declared=None, quote='"', rest=""):
    head = f"<?xml version={quote}1.0{quote} encoding={quote}{declared}{quote}{rest}?>\n"
    content = (head if declared else "") + BODY.format(text)
    (tmp_path / "a.xml").write_bytes(content.encode(encoding))
    return tmp_path / "a.xml"


ENCODED = {  # by text: how it is stored, and what the file declares
    "Zürich": [
        *(("utf-8", None), ("utf-8", "UTF-8"), ("utf-8-sig", None), ("utf-8-sig", "UTF-8")),
        *(("latin-1", "ISO-8859-1"), ("latin-1", "Latin-1")),
    ],
    "10 € Zürich™": [("cp1252", "windows-1252")],
    "樱桃": [
        *(("gb2312", "GB2312"), ("gb2312", "gb2312")),
        *(("utf-16", "UTF-16"), ("utf-16", None)),  # Python writes a byte order mark
        *(("utf-16-le", "UTF-16"), ("utf-16-be", None), ("utf-32", None)),
        *(("utf-8", "utf-16"), ("utf-8-sig", "utf-16")),  # as .NET's StringWriter declares it
    ],
    "鎔镕": [("gbk", "gb2312"), ("gbk", "GBK")],  # which have no place in GB2312 itself
    "㐀樱": [("gb18030", "GB18030")],
    "桜①": [("cp932", "Shift_JIS")],
    "桜": [("shift_jis", "Shift-JIS"), ("euc_jp", "EUC-JP")],
    "櫻": [("big5", "Big5")],
    "벚꽃": [("euc_kr", "EUC-KR")],
    "вишня": [("koi8_r", "KOI8-R"), ("cp1251", "windows-1251")],
}


@pytest.mark.parametrize("text", ENCODED)
def test_a_file_is_read_in_the_encoding_that_it_declares(tmp_path, text):
    for encoding, declared in ENCODED[text]:
        for form in ({}, {"quote": "'", "rest": " standalone='yes'"}):
            file = written(tmp_path, text, encoding, declared, **form)
            assert read_xml(file).findtext("object/name") == text, (encoding, declared)


@pytest.mark.parametrize(
    ("encoding", "declared", "message"),
    [
        ("latin-1", None, "line 1 has the byte 0xe9, which is not UTF-8; expected UTF-8"),
        ("latin-1", "UTF-8", "line 2 has the byte 0xe9, which is not UTF-8"),
        ("latin-1", "Shift_JIS", "line 2 has the byte 0xe9, which is not CP932"),
        ("utf-8", "x-user-defined", "declares the encoding 'x-user-defined', which is"),
        ("utf-8", "ansi", "declares the encoding 'ansi', which is none of text"),
        ("utf-8", "hex", "declares the encoding 'hex', which is none of text"),
        ("utf-8", "unicode_escape", "declares the encoding 'unicode_escape', which is none"),
        ("utf-8", "utf-7", "declares the encoding 'utf-7', which is none of text"),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused(tmp_path, encoding, declared, message):
    with refuses(f"a.xml: {message}"):
        read_xml(written(tmp_path, "café", encoding, declared))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><image/></annotations>", "the outer element is <annotations>; expected"),
        ("", "not valid XML at line 1, column 0"),
        (f'<?xml version="1.0" encoding?>{BODY}', "not valid XML at line 1"),
    ],
)
def test_an_xml_file_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with refuses(f"a.xml: {message}"):
        read_xml(tmp_path / "a.xml")
