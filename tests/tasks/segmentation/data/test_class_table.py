import pytest

from tasks.segmentation.data.class_table import layered_table, table_of
from tests.tasks.segmentation.conftest import refuses

EXPECTED = ((0,), (0xFF0000,), (0x004080,))
SHADES = [0] * 500 + [*range(100, 200)] + [255] * 500
EDGES = [0] * 30 + [40, 128, 200] + [255] * 30


@pytest.mark.parametrize(
    "given",
    [
        {"#000000": "background", "#ff0000": "cell", "#004080": "wall"},
        {"#000": "background", "#F00": "cell", "#004080": "wall"},
        {"0,0,0": "background", "[255, 0, 0]": "cell", "(0, 64, 128)": "wall"},
        {"0 0 0": "background", "255 0 0": "cell", "0 64 128": "wall"},
        {(0, 0, 0): "background", (255, 0, 0): "cell", (0, 64, 128): "wall"},
        {"background": [0, 0, 0], "cell": [255, 0, 0], "wall": [0, 64, 128]},
        {"background": "#000000", "cell": "#ff0000", "wall": "0, 64, 128"},
        "{'#000000': background, '#ff0000': cell, \"#004080\": wall}",
        "{#000: background, #f00: cell, #004080: wall}",
        "{background: [0, 0, 0], cell: '#ff0000', wall: [0, 64, 128]}",
    ],
)
def test_colours_are_given_as_people_write_them(given):
    table, notes = table_of(given, [])
    assert table.colours
    assert (table.names, table.values) == (("background", "cell", "wall"), EXPECTED)
    assert notes == ()


def test_several_colours_are_one_class_and_some_are_ignored():
    """CamVid's cars and trucks; the borders in Pascal VOC."""
    given = {"background": [0, 0, 0], "car": [[64, 0, 128], "#c080c0"], "ignore": [224, 224, 192]}
    table, _ = table_of(given, [])
    assert table.values == ((0,), (0x400080, 0xC080C0))
    assert table.ignored == (0xE0E0C0,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": [0, 0, 0], "b": "#000"}, "the colour #000000 for 'a' and for 'b'; expected each"),
        ({"a": [0, 0, 0], "b": 3}, "has colours and other values: .*; expected a colour for each"),
        ({"a": [0, 0, 256], "b": [0, 0, 1]}, "has colours and other|takes mask values"),
        ({"a": [0, 0], "b": [0, 1]}, "takes mask values from 0 on"),
        ("cell", "takes names by value, .* got 'cell'"),
        ("{a: [", "takes names by value, "),
        ([0, 255], r"takes names by value, such as .*, or colours by name"),
    ],
)
def test_what_is_no_table_is_refused(given, message):
    with refuses(message):
        table_of(given, [])


def test_numbers_stay_numbers():
    for given in ({0: "background", 255: "cell"}, {"0": "background", "255": "cell"}):
        table, _ = table_of(given, [])
        assert (table.values, table.colours, table.threshold) == (((0,), (255,)), False, None)


def test_a_threshold_needs_two_levels():
    table, _ = table_of(None, [], threshold=1)
    assert (table.names, table.threshold) == (("background", "class 255"), 1)
    assert table.values == ((0,), (255,))
    with refuses(r"makes two levels .*, but data\.classes is \{0: .*"):
        table_of({0: "background", 2: "cell"}, [], threshold=128)
    with refuses(r"data\.threshold is '128'; expected a number"):
        table_of(None, [], threshold="128")
    for wrong in (0, -1, float("nan"), float("inf"), True):
        with refuses("expected a number above 0"):
            table_of(None, [], threshold=wrong)
    assert layered_table(["a"], None, source="folders", threshold=128).threshold == 128


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([SHADES], r"102 different values.*data\.threshold=128"),
        ([range(300)], r"300 different values.*each object.*data\.threshold=1 "),
        ([EDGES, *[[0, 255]] * 5], r"40 is in .*0\.png alone.*data\.threshold=128"),
    ],
)
def test_values_that_make_no_classes_name_the_threshold(masks, rows, message):
    with refuses(message):
        table_of(None, masks(*rows))
