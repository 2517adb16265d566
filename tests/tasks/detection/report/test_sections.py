"""The sections of a detector's report, also where there is little to show."""

import pytest

from tasks.common.report.page.blocks import Gallery, LineChart, Matrix, Table, Text
from tasks.detection.report.sections import detector_sections
from tests.tasks.detection.conftest import write_coco_below

TITLES = ["Classes", "Score threshold", "Confusion", "Sizes", "Worst images"]


@pytest.fixture
def split(tmp_path):
    """Four images with a cat each, on the files of which they are drawn."""
    return write_coco_below(tmp_path, "a", count=4)


def results_of(split, *, score=0.9, shift=0, label=0):
    category = split.category_ids[label]
    found = {record.image_id: [] for record in split.images}
    for entry in split.truth["annotations"]:
        box = [entry["bbox"][0] + shift, *entry["bbox"][1:]]
        one = {"image_id": entry["image_id"], "category_id": category, "bbox": box, "score": score}
        found[entry["image_id"]].append(one)
    return found


def sections_of(split, results):
    sections = detector_sections(split, results, name="test", limit=100)
    return {section.title: section.blocks for section in sections}


def texts(blocks):
    """All that is said in paragraphs."""
    said = [block.paragraphs for block in blocks if isinstance(block, Text)]
    return " ".join(text for paragraphs in said for text in paragraphs)


def kinds(blocks):
    return [type(block) for block in blocks]


def test_every_section_has_its_tables_charts_and_pictures(split):
    results = results_of(split)
    results[split.images[0].image_id] = []
    found = sections_of(split, results)
    assert list(found) == TITLES
    assert kinds(found["Classes"]) == [Text, Table, Table, LineChart, LineChart]
    assert kinds(found["Score threshold"]) == [Text, LineChart]
    assert kinds(found["Confusion"]) == [Text, Matrix]
    assert kinds(found["Sizes"]) == [Table, Table]
    assert kinds(found["Worst images"]) == [Gallery]
    assert "with scores of at least 0.900: then 100% of the" in texts(found["Score threshold"])
    (gallery,) = found["Worst images"]
    assert [picture.caption for picture in gallery.pictures] == ["a0.png: 0 found"]
    assert gallery.pictures[0].badges == ("1 missed",)


def test_a_split_that_was_not_scored_says_so(split):
    (section,) = detector_sections(split, None, name="test", limit=100)
    assert "was not scored on test" in texts(section.blocks)


def test_without_detections_it_says_so(split):
    found = sections_of(split, {record.image_id: [] for record in split.images})
    assert list(found) == TITLES
    assert "Nothing was detected" in texts(found["Score threshold"])
    assert "'cat' has the lowest AP, 0.000" in texts(found["Classes"])
    assert len(found["Worst images"][0].pictures) == 4


def test_without_true_boxes_it_says_so(tmp_path):
    split = write_coco_below(tmp_path, "a", count=2, boxes=False)
    one = {"category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.8}
    found = sections_of(split, {0: [{"image_id": 0, **one}], 1: []})
    assert "No class has a box in the truth" in texts(found["Classes"])
    assert kinds(found["Classes"]) == [Text, Table, Table]
    assert "There is no true box" in texts(found["Score threshold"])
    assert "There is no true box" in texts(found["Sizes"])
    assert found["Worst images"][0].pictures[0].badges == ("1 false",)
    nothing = sections_of(split, {0: [], 1: []})
    assert "neither a true box nor a detection" in texts(nothing["Confusion"])
    assert "No image has an error" in texts(nothing["Worst images"])


def test_without_anything_right_it_says_so(split):
    found = sections_of(split, results_of(split, shift=30))
    assert "no threshold is better than another" in texts(found["Score threshold"])
    assert kinds(found["Score threshold"]) == [Text, LineChart]


def test_one_class_and_no_errors(tmp_path):
    split = write_coco_below(tmp_path, "a", count=2, classes=("cat",))
    found = sections_of(split, results_of(split))
    assert "There is one class, 'cat', with AP 1.000." in texts(found["Classes"])
    assert "No image has an error" in texts(found["Worst images"])
    assert [line.name for line in found["Classes"][3].lines] == ["cat (1.000)"]


def test_a_file_that_is_gone_is_named(split, tmp_path):
    (tmp_path / "images" / "a1.png").unlink()
    found = sections_of(split, {record.image_id: [] for record in split.images})
    (gallery,) = found["Worst images"]
    assert len(gallery.pictures) == 3
    assert "a1.png" in gallery.note


def test_a_gray_detector_shows_gray_images(split):
    blocks = detector_sections(
        split, {r.image_id: [] for r in split.images}, name="val", limit=100, in_channels=1
    )[-1].blocks
    right = blocks[0].pictures[0].image[:, -300:]
    assert (right == right[..., :1]).all()
