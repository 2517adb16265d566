from tasks.common.data.duplicates import Seen, duplicates


def said(train, val=()):
    """What is said of images whose name begins with their content, labels after a colon."""
    sides = {"train": train, "val": val}
    seen = {
        side: [Seen(name=name, digest=name[0], label_digest=name[2:]) for name in names]
        for side, names in sides.items()
    }
    return duplicates(seen, labels="boxes")


def test_images_in_two_splits_come_before_those_that_are_twice_in_one():
    assert said(["a:1", "b:1", "b:2"], ["a:2"]) == [
        "a:1 in train and a:2 in val are the same image with different boxes",
        "b:1 and b:2 in train are the same image with different boxes",
    ]
    assert said(["a:1"], ["b:1"]) == []


def test_of_many_pairs_three_are_named():
    same = "a:1 and a:1 in train are the same image"
    assert said(["a:1"] * 6) == [*[same] * 3, "2 more pairs in one split are the same image"]
    names = ["a:1", "b:1", "c:1", "d:1", "e:1"]
    assert said(names, names) == [
        *[f"{name} in train and {name} in val are the same image" for name in names[:3]],
        "2 more pairs in two splits are the same image",
    ]
    assert len(said(["a:1", "b:1"], ["b:1", "a:1"])) == 2
