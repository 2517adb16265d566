from tasks.common.data.duplicates import Seen, duplicates


def seen(*names):
    """Return images whose name begins with their content, and their labels after a colon."""
    return [Seen(name=name, digest=name[0], label_digest=name[2:]) for name in names]


def test_images_in_two_splits_come_before_those_that_are_twice_in_one():
    said = duplicates({"train": seen("a:1", "b:1", "b:2"), "val": seen("a:2")}, labels="boxes")

    assert said == [
        "a:1 in train and a:2 in val are the same image with different boxes",
        "b:1 and b:2 in train are the same image with different boxes",
    ]


def test_of_many_pairs_in_one_split_three_are_named():
    said = duplicates({"train": seen("a:1", "a:1", "a:1", "a:1", "a:1", "a:1")}, labels="masks")

    assert said == [
        *["a:1 and a:1 in train are the same image"] * 3,
        "2 more pairs in one split are the same image",
    ]


def test_of_many_pairs_in_two_splits_three_are_named():
    names = ["a:1", "b:1", "c:1", "d:1", "e:1"]
    said = duplicates({"train": seen(*names), "val": seen(*names)}, labels="masks")

    assert said == [
        *[f"{name} in train and {name} in val are the same image" for name in names[:3]],
        "2 more pairs in two splits are the same image",
    ]
    assert (
        len(duplicates({"train": seen("a:1", "b:1"), "val": seen("b:1", "a:1")}, labels="m")) == 2
    )
    assert duplicates({"train": seen("a:1"), "val": seen("b:1")}, labels="masks") == []
