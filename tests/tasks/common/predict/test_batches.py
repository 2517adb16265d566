"""Batches of one kind, in the items' order."""

import numpy as np
import pytest

from tasks.common.predict.batches import in_batches


def run(items, *, size, log=None):
    """Items are texts whose first letter is their kind; a dot goes alone."""
    log = [] if log is None else log

    def compute(batch):
        log.append("".join(batch))
        return [item.upper() for item in batch]

    def source():
        for item in items:
            log.append(f"+{item}")
            yield item

    kinds = {".": None}
    yield from in_batches(
        source(), size=size, key=lambda item: kinds.get(item[0], item[0]), compute=compute
    )


def batches(items, size):
    log = []
    assert [item for item, _ in run(items, size=size, log=log)] == list(items)
    return [entry for entry in log if not entry.startswith("+")]


@pytest.mark.parametrize(
    ("items", "size", "expected"),
    [
        ("aaaaa", 1, ["a", "a", "a", "a", "a"]),
        ("aaaaa", 2, ["aa", "aa", "a"]),
        ("abab", 2, ["aa", "bb"]),
        ("aba.b", 2, ["aa", ".", "bb"]),
        ("abb", 3, ["a", "bb"]),
        ("", 3, []),
        ("abcdefghij", 2, list("abcdefghij")),
    ],
)
def test_items_of_one_kind_are_computed_together(items, size, expected):
    assert batches(items, size) == expected


def test_an_item_waits_for_no_more_than_four_batches():
    log = []
    for _ in run("a" + "bb" * 6, size=2, log=log):
        break
    assert "".join(entry[1] for entry in log if entry[0] == "+") == "a" + "b" * 7
    assert log[-1] == "a"


def test_one_at_a_time_is_yielded_before_the_next_is_read():
    log = []
    for item, _ in run("abc", size=1, log=log):
        log.append(f"={item}")
    assert log == ["+a", "a", "=a", "+b", "b", "=b", "+c", "c", "=c"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_whatever_the_mixture_each_item_has_its_own_result_in_order(size):
    random = np.random.default_rng(size)
    items = [f"{kind}{n}" for n, kind in enumerate(random.choice(list("abc."), 60))]
    assert list(run(items, size=size)) == [(item, item.upper()) for item in items]
