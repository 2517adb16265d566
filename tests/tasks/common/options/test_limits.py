"""The limits of options, for every kind of them."""

import math
from dataclasses import dataclass, make_dataclass

import pytest

from tasks.common.options.limits import (
    Options,
    checked,
    choice,
    integer,
    is_finite,
    is_integer,
    is_number,
    limits_of,
    number,
)

OR_AUTO = integer(0, least=0, also={"auto": "auto"})
OR_INF = number(1, least=0, also={math.inf: "inf"})
OR_NULL = number(1, least=0, most=1, noun="share", also={None: "null"})
NO_INTEGERS = [0, 1.0, 2.5, True, "1", None, math.inf]
LIMITS = [  # text, field, values that fit, values that do not
    ("an integer of at least 1", integer(1, least=1), [1, 10**12], NO_INTEGERS),
    ("an integer of at least 0, or auto", OR_AUTO, [0, "auto"], [-1, "cpu", False, [3]]),
    ("a number of at least 0", number(0, least=0), [0, 0.0, 7.5], [-0.1, math.nan, math.inf, "1"]),
    ("a number above 0", number(1, above=0), [1e-9], [0, -1, True, None]),
    ("a number from 0 to 1", number(1, least=0, most=1), [0, 1], [-0.1, 1.1, math.nan]),
    ("a share from 0 to below 1", number(0, least=0, below=1, noun="share"), [0, 0.9], [1, -1]),
    ("a number above 0 and up to 1", number(1, above=0, most=1), [0.1, 1], [0, 1.1]),
    ("a number of at least 0, or inf", OR_INF, [0, math.inf], [-1, math.nan, -math.inf]),
    ("a share from 0 to 1, or null", OR_NULL, [None, 0.5], [2, "null"]),
    ("sgd, lion or adamw", choice("sgd", ("sgd", "lion", "adamw")), ["sgd", "adamw"], ["", "adam"]),
    ("two", checked((1, 2), "two", lambda v: len(v) == 2), [(1, 2)], [(1,)]),
]


@pytest.mark.parametrize(("text", "field", "good", "bad"), LIMITS, ids=[row[0] for row in LIMITS])
def test_a_field_takes_what_its_limit_says(text, field, good, bad):
    made = make_dataclass("Made", [("x", object, field)], bases=(Options,))
    made.GROUP = "group"
    assert limits_of(made) == {"x": text}
    assert [made(x=value).x for value in good] == good
    for value in bad:
        with pytest.raises(ValueError, match=r"group\.x") as error:
            made(x=value)
        if not (isinstance(value, str) and text.startswith("sgd")):
            shown = list(value) if isinstance(value, tuple) else value
            assert str(error.value) == f"group.x takes {text}, got {shown!r}."


@dataclass(frozen=True, kw_only=True)
class Base(Options, group="base"):
    name: str = choice("sgd", ("sgd", "adamw"))
    free: str = "anything"


def test_a_wrong_name_is_answered_with_the_nearest_and_what_is_no_name_with_all():
    with pytest.raises(ValueError, match=r"^unknown base\.name 'adam'; did you mean 'adamw'\?"):
        Base(name="adam")
    with pytest.raises(ValueError, match=r"^base\.name takes sgd or adamw, got 3\.$"):
        Base(name=3)


def test_a_subclass_keeps_the_group_and_may_widen_a_field():
    wider = make_dataclass("Wider", [("name", object, "sgd")], bases=(Base,), frozen=True)
    assert wider.GROUP == "base"
    assert wider(name=3).name == 3
    assert limits_of(wider) == {}


@pytest.mark.parametrize(
    ("value", "expected"),  # integer, number, finite
    [
        (1, (True, True, True)),
        (1.5, (False, True, True)),
        (math.nan, (False, True, False)),
        (math.inf, (False, True, False)),
        (True, (False, False, False)),
        ("1", (False, False, False)),
        (None, (False, False, False)),
    ],
)
def test_what_is_a_number(value, expected):
    assert (is_integer(value), is_number(value), is_finite(value)) == expected
