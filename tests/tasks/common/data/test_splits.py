from collections import Counter

import pytest

from tasks.common.data.splits import check_fractions, draw_sides, group_of, refuse_leaks

NAMES = [f"{n:03d}" for n in range(200)]


def drawn(groups, labels=(), fractions=(0.7, 0.15, 0.15), seed=0):
    """The sides of groups of one image each, or of as many as a dictionary says."""
    groups = groups if isinstance(groups, dict) else dict.fromkeys(groups, 1)
    return draw_sides(groups, dict(labels), fractions=fractions, seed=seed)


def counts(sides):
    return Counter(sides.values())


def test_a_draw_has_every_name_once_in_the_asked_proportions():
    sides = drawn(NAMES, fractions=(0.7, 0.2, 0.1), seed=3)
    assert sorted(sides) == NAMES
    assert counts(sides) == {"train": 140, "val": 40, "test": 20}


def test_a_draw_depends_on_the_seed_and_not_on_the_order():
    names, half = NAMES[:50], (0.5, 0.5, 0)
    labels = {name: ["cat"] for name in names[::3]}
    sides = drawn(names, labels, half)
    assert drawn(names[::-1], labels, half) == sides
    assert drawn(names, labels, half, seed=1) != sides
    assert [sides[name] for name in names] != sorted(sides.values())


def test_a_small_fraction_gets_a_name_and_a_fraction_of_zero_none():
    assert counts(drawn("abc", fractions=(0.98, 0.01, 0.01))) == {"train": 1, "val": 1, "test": 1}
    assert counts(drawn("abc", fractions=(0.99, 0.01, 0))) == {"train": 2, "val": 1}


@pytest.mark.parametrize("seed", range(30))
def test_every_label_is_in_train_whatever_the_seed_and_the_fractions(seed):
    names = NAMES[:40]
    labels = {name: ["common"] for name in names}
    labels["007"], labels["031"] = ["rare"], ["common", "rare", "single"]
    for fractions in ((0.7, 0.15, 0.15), (0.2, 0.4, 0.4), (0.5, 0.5, 0.0)):
        sides = drawn(names, labels, fractions, seed)
        learnt = {label for name in names if sides[name] == "train" for label in labels[name]}
        assert learnt == {"common", "rare", "single"}


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_shared_out_as_the_fractions_say(seed):
    labels = {name: ["half"] for name in NAMES[:100]} | {name: ["tenth"] for name in NAMES[180:]}
    sides = drawn(NAMES, labels, (0.6, 0.2, 0.2), seed)
    assert counts(sides) == {"train": 120, "val": 40, "test": 40}
    assert Counter(sides[name] for name in NAMES[:100]) == {"train": 60, "val": 20, "test": 20}
    assert Counter(sides[name] for name in NAMES[180:]) == {"train": 12, "val": 4, "test": 4}


@pytest.mark.parametrize("seed", range(10))
def test_groups_of_many_sizes_come_near_the_fractions(seed):
    sizes = {f"video{n}": size for n, size in enumerate([100, 90, 80, 40, 30, 30, 20, 10, 60, 40])}
    sides = drawn(sizes, {name: ["car"] for name in sizes}, (0.6, 0.2, 0.2), seed)
    for side, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        found = sum(size for name, size in sizes.items() if sides[name] == side)
        assert found / 500 == pytest.approx(share, abs=0.11)


@pytest.mark.parametrize("seed", range(30))
def test_each_side_has_a_label_where_there_are_as_many(seed):
    names = NAMES[:40]
    for labels in ({n: [n] for n in names[:3]}, {n: ["cell"] for n in ("003", "017", "030")}):
        sides = drawn(names, labels, seed=seed)
        assert sorted(sides[name] for name in labels) == ["test", "train", "val"]
    assert drawn(names, {"007": ["cell"]}, seed=seed)["007"] == "train"
    own = drawn("abc", {name: [name] for name in "abc"}, seed=seed)
    assert counts(own) == {"train": 1, "val": 1, "test": 1}


def test_too_few_groups_are_refused():
    with pytest.raises(ValueError, match="2 cannot be split into train, val, test; expected at"):
        drawn("ab")


@pytest.mark.parametrize("shares", [(0.5, 0.4, 0.2), (1.2, -0.2, 0), (0.7, 0.3), (1, 0, 0), "abc"])
def test_fractions_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match=r"data\.fractions takes the shares of train"):
        check_fractions(shares)
    assert check_fractions([0.5, 0.5, 0]) == (0.5, 0.5, 0)


def test_a_group_is_what_the_expression_finds():
    assert group_of("clip7/0001.jpg", r"(clip\d+)/", option="group", what="image") == "clip7"
    assert group_of("a.jpg", None, option="group", what="image") == "a.jpg"
    with pytest.raises(ValueError, match=r"group is .*finds no group in the image name 'b.jpg'"):
        group_of("b.jpg", r"(clip\d+)", option="group", what="image")
    with pytest.raises(ValueError, match=r"group is .* with 0 groups; expected one group in"):
        group_of("b.jpg", "clip", option="group", what="image")


def test_a_group_on_two_sides_is_refused():
    members = [("a0", "a", "train"), ("a1", "a", "train"), ("b0", "b", "val")]
    refuse_leaks(members, option="group", what="image")
    message = "group 'b' would be on two sides: image 'b0' in val, image 'b1' in test"
    with pytest.raises(ValueError, match=message):
        refuse_leaks([*members, ("b1", "b", "test")], option="group", what="image")
