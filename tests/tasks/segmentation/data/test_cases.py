"""Mask values that become classes, and classes that become mask values, against cases by hand."""

from pathlib import Path

import numpy as np
import pytest

from tasks.segmentation.data.cases import (
    IGNORE,
    Case,
    CaseSet,
    ClassTable,
    class_table,
    decode,
    encode,
    inferred_table,
)
from tests.tasks.segmentation.conftest import refuses

FILE = Path("m.png")
REGIONS = ClassTable(names=("whole", "core"), values=((1, 2), (2,)), exclusive=False, ignored=(3,))


def row(*values, dtype=np.int32):
    return np.array(values, dtype=dtype).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("given", "expected", "scored", "ignored"),
    [
        (  # the background comes first, the others keep their order
            {255: "nucleus", 128: "cytoplasm", 0: "background"},
            {"background": (0,), "nucleus": (255,), "cytoplasm": (128,)},
            *((1, 2), ()),
        ),
        (
            {0: "background", 1: "gland", 2: "gland", 9: "ignore"},
            {"background": (0,), "gland": (1, 2)},
            *((1,), (9,)),
        ),
        ({1: "cat", 2: "dog"}, {"cat": (1,), "dog": (2,)}, (0, 1), ()),
    ],
)
def test_a_table_has_a_class_for_each_name(given, expected, scored, ignored):
    table = class_table(given)
    names, values = tuple(expected), tuple(expected.values())
    assert table == ClassTable(names=names, values=values, ignored=ignored)
    assert table.scored == scored


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({-1: "cell"}, r"takes mask values from 0 on \(16 bits\) .*, got \{-1: 'cell'\}"),
        ({65536: "cell"}, r"takes mask values from 0 on \(16 bits\)"),
        ({"1": "cell"}, r"takes mask values from 0 on"),
        ({1: ""}, r"takes mask values from 0 on .* and names"),
        ({}, r"needs a class besides background, got \{\}"),
        ({0: "background"}, r"needs a class besides background"),
        ({0: "background", 1: "ignore"}, r"needs a class besides background"),
    ],
)
def test_a_table_of_no_classes_is_refused(given, message):
    with refuses(message):
        class_table(given)


def test_values_without_names_are_named_by_their_value():
    table = inferred_table([255, 0, 128, 0])
    assert table.names == ("background", "class 128", "class 255")
    assert table.values == ((0,), (128,), (255,))
    assert table.inferred


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([7, 7], "masks have 1 different values; expected 2 to 64"),
        (range(65), "masks have 65 different values; expected 2 to 64"),
        ([-1, 0, 1], "the masks have the value -1; expected 0 to 65535"),
    ],
)
def test_values_that_make_no_table_are_refused(values, message):
    with refuses(message):
        inferred_table(values)


def test_labels_are_the_indices_of_the_classes():
    table = class_table({0: "background", 300: "a", 2: "b", 3: "b", 9: "ignore"})
    labels = encode(row(0, 300, 2, 3, 9), table, source=FILE)
    assert labels.dtype == np.uint8
    assert labels.ravel().tolist() == [0, 1, 2, 2, IGNORE]


def test_unknown_values_are_named_with_their_file_and_pixels():
    table = class_table({0: "background", 9: "cell", 4: "ignore"})
    with refuses(r"m\.png has .*: 5 \(2 pixels\), 7 \(1 pixels\); expected 0, 4, 9\. Add"):
        encode(row(5, 0, 7, 9, 5, 4), table, source=FILE)
    with refuses(r"105 \(1 pixels\) and 15 more; expected"):
        encode(row(*range(101, 121)), table, source=FILE)


def test_a_class_that_overlaps_is_all_pixels_with_one_of_its_values():
    layers = encode(row(0, 1, 2, 3), REGIONS, source=FILE)
    assert layers.dtype == np.uint8
    assert layers.reshape(2, 4).tolist() == [[0, 1, 1, IGNORE], [0, 0, 1, IGNORE]]
    with refuses(r"m\.png .* no class: 4 \(1 pixels\); expected 0, 1, 2, 3"):
        encode(row(0, 1, 4), REGIONS, source=FILE)


def test_decoding_gives_the_first_value_of_each_class():
    table = class_table({0: "background", 300: "a", 2: "b", 3: "b"})
    mask = decode(np.array([[[0, 1, 2]]], np.uint8), table)
    assert mask.ravel().tolist() == [0, 300, 2]
    np.testing.assert_array_equal(decode(encode(mask, table, source=FILE), table), mask)


def test_patients_are_known_where_a_case_names_another_than_itself():
    def cases(*patients):
        made = (Case(name=f"c{n}", images=(), masks=(), patient=p) for n, p in enumerate(patients))
        return CaseSet(source="x", cases=tuple(made), classes=class_table({0: "a", 1: "b"}))

    assert cases("p", "p", "c2").patients == {"c0": "p", "c1": "p", "c2": "c2"}
    assert cases("c0", "c1").patients is None
