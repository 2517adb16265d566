"""The sections of a segmenter's report: tables in order, errors in colour, little to show."""

import numpy as np
import pytest

from tasks.common.report.page.blocks import BoxPlot, Gallery, Table, Text
from tasks.common.report.panels import class_color
from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.options import InputOptions
from tasks.segmentation.report.gallery import ERRORS, SIDE, error_layers
from tasks.segmentation.report.sections import segmenter_sections
from tasks.segmentation.report.tables import MOST_CLASSES, MOST_ROWS, case_table, dice_plot
from tasks.segmentation.scores.metrics import summarise
from tasks.segmentation.scores.worst import with_case
from tests.tasks.segmentation.report.conftest import row

TWO = class_table({0: "background", 1: "a", 2: "b"})
LAYERS = ClassTable(names=("a", "b"), values=((1,), (1,)), exclusive=False)
INPUTS = InputOptions(normalisation="imagenet", patch=(32, 32))


def texts(blocks):
    said = [block.paragraphs for block in blocks if isinstance(block, Text)]
    return " ".join(text for paragraphs in said for text in paragraphs)


def sections_of(split, cases, worst, **options):
    usual = {"name": "test", "options": INPUTS, "tolerance": 2.0, "unit": "px"}
    found = segmenter_sections(split, cases, worst, **usual | options)
    return {section.title: section.blocks for section in found}


def pair(depth=1):
    """A gray image and a mask with a square of each class."""
    mask = np.zeros((depth, 40, 60), np.uint8)
    mask[:, 4:14, 4:14], mask[:, 20:30, 30:40] = 1, 2
    return (mask[None] * 60 + 50).astype(np.uint8), mask


def test_the_pixels_of_each_error():
    truth = np.array([[0, 1, 1, 1, 2, 0, IGNORE, 0]])
    found = np.array([[0, 1, 0, 2, 1, 2, 1, 0]])
    inside = {
        layer.name: layer.inside.astype(int).tolist()[0]
        for layer in error_layers(truth, found, TWO)
    }
    assert inside == {
        "found": [0, 1, 0, 0, 0, 0, 0, 0],
        "missed": [0, 0, 1, 0, 0, 0, 0, 0],
        "false": [0, 0, 0, 0, 0, 1, 0, 0],
        "wrong class": [0, 0, 0, 1, 1, 0, 0, 0],
        "ignore": [0, 0, 0, 0, 0, 0, 1, 0],
    }


def test_the_pixels_of_each_error_where_classes_overlap():
    truth = np.array([[[1, 1, 0, 0, 1, IGNORE]], [[1, 0, 0, 1, 0, 0]]])
    found = np.array([[[1, 0, 1, 0, 1, 1]], [[1, 1, 0, 1, 1, 0]]])
    inside = {
        layer.name: layer.inside.astype(int).tolist()[0]
        for layer in error_layers(truth, found, LAYERS)
    }
    assert inside == {
        "found": [1, 0, 0, 1, 0, 0],
        "missed": [0, 1, 0, 0, 0, 0],
        "false": [0, 0, 1, 0, 1, 0],
        "wrong class": [0, 0, 0, 0, 0, 0],
        "ignore": [0, 0, 0, 0, 0, 1],
    }


@pytest.mark.parametrize("depth", [1, 3])
def test_a_case_is_shown_with_its_errors_in_colour(write_set, depth):
    image, mask = pair(depth)
    split = write_set([(image, mask)], classes=TWO)
    found = mask.copy()
    found[-1, 4:9, 4:14] = 0  # half of a is missed
    found[-1, 20:30, 50:55] = 2  # beyond b
    found[-1, 20:30, 30:35] = 1  # half of b is taken for a
    cases = {"case0": {"a": row(100, 100, 50), "b": row(100, 100, 50)}}
    worst = with_case({}, "case0", cases["case0"], found, mask)
    (gallery,) = sections_of(split, cases, worst)["Worst images"]
    (picture,) = gallery.pictures
    where = ", slice 2" if depth > 1 else ""
    assert picture.caption == (
        f"case0{where}: 50 missed, 50 false, 50 wrong class, 100 found pixels"
    )
    assert picture.badges == ("Dice 0.500",)
    truth = np.array_split(picture.image, 3, axis=1)[1]
    assert (truth == class_color(0)).all(-1).any()
    assert (truth == class_color(1)).all(-1).any()
    assert list(gallery.legend)[:4] == [f"prediction: {name}" for name in ERRORS]
    assert list(gallery.legend)[4:] == ["truth: a", "truth: b"]
    assert max(picture.image.shape[0], picture.image.shape[1] // 3) in range(SIDE, SIDE + 10)


def test_errors_are_nearly_opaque_and_what_is_found_is_seen_through(write_set):
    image, mask = pair()
    split = write_set([(image, mask)], classes=TWO)
    found = mask.copy()
    found[0, 4:9, 4:14], found[0, 20:30, 50:55], found[0, 20:30, 30:35] = 0, 2, 1
    cases = {"case0": {"a": row(100, 100, 50), "b": row(100, 100, 50)}}
    worst = with_case({}, "case0", cases["case0"], found, mask)
    (gallery,) = sections_of(split, cases, worst)["Worst images"]
    picture, scale = gallery.pictures[0].image.astype(float), SIDE / 60
    places = {"missed": (6, 9), "false": (25, 52), "wrong class": (25, 32), "found": (11, 9)}
    for name, place in places.items():
        y, x = (int(scale * (at + 0.5)) for at in place)
        plain, seen = picture[y, x], picture[y, x + 2 * (SIDE + 8)]
        opacity = 0.3 if name == "found" else 0.8
        expected = plain + opacity * (np.array(ERRORS[name]) - plain)
        assert seen == pytest.approx(expected, abs=1), name


def test_every_section_is_there_and_a_lost_image_is_named(write_set):
    split = write_set([pair(), pair()], classes=TWO)
    mask = pair()[1]
    cases = {f"case{n}": {"a": row(100, 90, 80 - n), "b": row(100, 0, 0)} for n in range(2)}
    worst = {}
    for name, scores in cases.items():
        worst = with_case(worst, name, scores, mask % 2, mask)
    split.cases[0].images[0].unlink()
    found = sections_of(split, cases, worst)
    assert [type(block) for block in found["Classes"]] == [Text, Table, BoxPlot]
    assert "'b' has the lowest Dice, 0.000" in texts(found["Classes"])
    assert [row[0] for row in found["Cases"][0].rows] == ["case1", "case0"]
    (gallery,) = found["Worst images"]
    assert isinstance(gallery, Gallery)
    assert [picture.caption.partition(":")[0] for picture in gallery.pictures] == ["case1"]
    assert "could not be read: case0 (" in gallery.note


def test_what_was_not_scored_and_what_has_no_error_say_so(write_set):
    split = write_set([pair()], classes=TWO)
    for nothing in (None, {}):
        blocks = sections_of(split, nothing, {}, name="val")["Results"]
        assert "was not scored on val" in texts(blocks)
    perfect = sections_of(split, {"case0": {"a": row(9, 9, 9), "b": row(9, 9, 9)}}, {})
    assert "No case has an error" in texts(perfect["Worst images"])
    empty = sections_of(split, {"case0": {"a": row(0, 0, 0), "b": row(0, 0, 0)}}, {})
    assert "there is no Dice" in texts(empty["Classes"])
    assert [type(block) for block in empty["Classes"]] == [Text, Table]
    assert empty["Cases"][0].rows == [["case0", None, None, None]]


def test_cases_come_with_the_lowest_mean_first_and_their_patients():
    cases = {
        "good": {"a": row(10, 10, 9), "b": row(10, 10, 9)},
        "empty": {"a": row(0, 0, 0), "b": row(0, 0, 0)},
        "bad": {"a": row(10, 10, 1), "b": row(0, 0, 0)},
    }
    patients = {"good": "p1", "empty": "p1", "bad": "p2"}
    table = case_table(cases, summarise(cases, TWO), patients=patients)
    assert table.headings == ["case", "patient", "mean Dice", "a", "b"]
    assert table.rows == [
        ["bad", "p2", 0.1, 0.1, None],
        ["good", "p1", 0.9, 0.9, 0.9],
        ["empty", "p1", None, None, None],
    ]


def test_of_many_cases_and_classes_the_worst_are_shown_and_the_note_says_so():
    names = tuple(f"c{n}" for n in range(20))
    classes = class_table(dict(enumerate(("background", *names))))
    cases = {
        f"case{n:03d}": {name: row(100, 100, 40 + k) for k, name in enumerate(names)}
        for n in range(MOST_ROWS + 5)
    }
    summary = summarise(cases, classes)
    table, plot = case_table(cases, summary), dice_plot(cases, summary)
    assert len(table.rows) == MOST_ROWS
    assert table.headings[2:] == list(names[:MOST_CLASSES])
    assert f"{MOST_ROWS} worst of {MOST_ROWS + 5} cases; cases.csv has all" in table.note
    assert f"{MOST_CLASSES} worst of 20 classes" in table.note
    assert list(plot.groups) == list(names[:MOST_CLASSES])
    assert plot.groups["c0"][3] == ("case003", 0.4)


def test_a_class_without_dice_has_no_box():
    cases = {"x": {"a": row(10, 10, 5), "b": row(0, 0, 0)}}
    assert list(dice_plot(cases, summarise(cases, TWO)).groups) == ["a"]
    none = {"x": {"a": row(0, 0, 0), "b": row(0, 0, 0)}}
    assert dice_plot(none, summarise(none, TWO)) is None
