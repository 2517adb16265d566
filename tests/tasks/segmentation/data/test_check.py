"""Faults of cases before a run, and what is said of splits, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.segmentation.data.case_properties import CaseFacts
from tasks.segmentation.data.cases import Case, CaseSet, ClassTable, class_table
from tasks.segmentation.data.check import check_cases, findings
from tests.tasks.segmentation.conftest import refuses, save

TABLE = class_table({0: "background", 1: "liver", 2: "vessel", 9: "ignore"})
REGIONS = ClassTable(names=("whole", "core"), values=((1, 2), (2,)), exclusive=False, ignored=(9,))
MASK = np.array([[0, 1, 1, 2], [0, 9, 1, 0], [0, 0, 0, 0]], np.uint8)


@pytest.fixture
def case(tmp_path):
    """Write the image and the mask of a case; flat, or a volume if they have three axes."""

    def write(name, image=None, mask=MASK):
        if image is None:  # another one for every name
            random = np.random.default_rng(list(name.encode()))
            image = random.integers(0, 256, mask.shape, np.uint8)
        paths = []
        for stem, pixels in ((name, image), (f"{name}_mask", mask)):
            flat = "tif" if pixels.dtype == np.float32 else "png"
            suffix = flat if pixels.ndim == 2 else "nii.gz"
            paths.append(save(tmp_path / f"{stem}.{suffix}", pixels, zooms=(1, 2, 3)))
        return Case(name=name, images=(paths[0],), masks=(paths[1],), patient=name)

    return write


def set_of(*cases, classes=TABLE):
    return CaseSet(source="data/liver", cases=cases, classes=classes)


def found_in(train, val, test, classes):
    sides = {"train": train, "val": val, "test": test}
    return findings({side: cases for side, cases in sides.items() if cases}, classes)


def refused(*cases, match, **options):
    with refuses(match) as caught:
        check_cases(set_of(*cases, **options), policy="error")
    return str(caught.value)


def test_facts_of_a_flat_case(case):
    [facts] = check_cases(set_of(case("a")), policy="error")
    assert (facts.name, facts.shape, facts.channels, facts.dtype) == ("a", (1, 3, 4), 1, "uint8")
    assert (facts.spacing, facts.unit, facts.flat) == ((1, 1, 1), "px", True)
    assert facts.class_pixels == (7, 3, 1)  # and one that is ignored
    assert not facts.blank
    [facts] = check_cases(set_of(case("a"), classes=REGIONS), policy="error")
    assert facts.class_pixels == (4, 1)


def test_facts_of_a_volume(case):
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[0, :, 2] = 1
    [facts] = check_cases(set_of(case("a", np.zeros((3, 4, 5), np.int16), mask)), policy="error")
    # The largest spacing, 3 mm, is that of the last axis.
    assert (facts.shape, facts.spacing, facts.unit) == ((5, 3, 4), (3, 1, 2), "mm")
    assert (facts.dtype, facts.flat) == ("int16", False)
    assert facts.class_pixels == (56, 4, 0)
    assert facts.blank


def test_a_mask_of_another_size_or_with_an_unknown_value_is_refused(case):
    bad = case("a", np.zeros((3, 5), np.uint8))
    refused(bad, match=r"a: .*a_mask\.png has the size 1 x 3 x 4, but .*a\.png has 1 x 3 x 5")
    bad = case("a", mask=np.where(MASK == 2, 7, MASK).astype(np.uint8))
    refused(bad, match=r"a: .*a_mask\.png has mask values that are in no class: 7 \(1 pixels\)")
    refused(bad, classes=REGIONS, match=r"a_mask\.png has mask values .* 7 \(1 pixels\)")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_counted_in_all_files_of_an_image(case, wrong):
    image = np.zeros(MASK.shape, np.float32)
    image[0, :3] = wrong
    fine, broken = case("a"), case("b", image)
    both = replace(fine, images=(*fine.images, *broken.images))
    said = "has 3 numbers that are NaN or infinite; expected"
    refused(broken, match=rf"b: .*b\.tif {said}")
    refused(both, match=rf"a: .*a\.png \+ .*b\.tif {said}")


def test_another_number_of_channels_and_volumes_among_flat_images_are_refused(case):
    one, two = case("a"), case("b")
    both = replace(two, images=(*one.images, *two.images))
    rest = "; 1 of 2 cases, such as a, have 1 channels"
    refused(one, both, match=rf"b: the image has 2 channels .*{rest}")
    volume = case("b", mask=np.ones((3, 4, 5), np.uint8))
    refused(one, volume, match=rf"b: .* spacing is in mm{rest} and px")
    kept = check_cases(set_of(both, one, case("c")), policy="skip")
    assert [facts.name for facts in kept] == ["a", "c"]  # the first case is the odd one


def test_a_truncated_or_missing_file_and_a_case_without_a_mask_are_refused(case):
    cut, gone, bare = case("a"), case("b"), replace(case("c"), masks=())
    cut.images[0].write_bytes(cut.images[0].read_bytes()[:50])
    gone.masks[0].unlink()
    faults = (
        "^data/liver: 3 of 3 cases cannot be used:",
        r"  a: .*a\.png cannot be decoded.*",
        r"  b: image .*b_mask\.png' does not exist.*",
        r"  c: a mask has 0 files.*",
        "Repair or remove them; on_bad_image=skip leaves out some",
    )
    refused(cut, gone, bare, match="\n".join(faults))


def test_the_first_five_faults_are_listed_and_all_are_counted(case):
    faulty = [case(name, np.zeros((3, 5), np.uint8)) for name in "bcdefgh"]
    said = refused(case("a"), *faulty, match=r"7 of 8 cases cannot be used:(\n  [b-f]: .*){5}\n  ")
    assert "\n  and 2 more\n" in said
    assert "g: " not in said
    exactly = refused(case("a"), *faulty[:5], match=r"5 of 6 cases")
    assert "more" not in exactly


def test_skipping_leaves_out_what_cannot_be_used_but_never_all(case):
    good, bad = case("a"), case("b", np.zeros((3, 5), np.uint8))
    assert [facts.name for facts in check_cases(set_of(bad, good), policy="skip")] == ["a"]
    with refuses("data/liver: 1 of 1 cases cannot be used"):
        check_cases(set_of(bad), policy="skip")
    with refuses("on_bad_image takes error or skip, got 'ignore'"):
        check_cases(set_of(good), policy="ignore")


def test_digests_are_of_numbers_and_not_of_files(case):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    cases = case("a", pixels), case("b", pixels, MASK[::-1].copy()), case("c", pixels + 1)
    a, b, c = check_cases(set_of(*cases), policy="error")
    assert a.digest == b.digest != c.digest
    assert a.mask_digest == c.mask_digest != b.mask_digest


def facts(name, pixels=(5, 5, 5), *, image=None, mask="m"):
    return CaseFacts(
        name=name,
        shape=(1, 3, 5),
        channels=1,
        dtype="uint8",
        spacing=(1, 1, 1),
        unit="px",
        flat=True,
        axis=None,
        class_pixels=pixels,
        blank=image == "blank",
        digest=image or name,
        mask_digest=mask,
    )


def test_nothing_is_said_of_splits_that_have_everything():
    assert found_in([facts("a")], [facts("b")], [facts("c")], TABLE) == []
    assert found_in([facts("a", (9, 3, 0)), facts("d", (0, 0, 1))], [facts("b")], [], TABLE) == []
    assert found_in([facts("a", (0, 3, 1))], [facts("b")], [], TABLE) == []  # no background
    blank = [facts(name, image="blank") for name in "abc"]  # which are not the same image
    assert found_in(blank[:1], blank[1:2], blank[2:], TABLE) == []


@pytest.mark.parametrize(
    ("train", "val", "classes", "message"),
    [
        ((9, 3, 0), (5, 5, 5), TABLE, r"train has no pixel of vessel: .*shown.* \(data\.seed\)"),
        ((1, 0, 0), (5, 5, 5), TABLE, "train has no pixel of liver, vessel: "),
        ((5, 5, 5), (9, 0, 0), TABLE, "val has no pixel of any scored class, so no checkpoint"),
        ((1, 1), (0, 0), REGIONS, "val has no pixel of any scored class"),
    ],
)
def test_a_class_that_train_lacks_and_val_without_any_are_errors(train, val, classes, message):
    with refuses(message):
        found_in([facts("a", train)], [facts("b", val)], [facts("c")], classes)


def test_a_class_that_val_or_test_lacks_is_said():
    said = found_in([facts("a")], [facts("b", (0, 0, 2))], [facts("c", (9, 1, 0))], TABLE)
    assert said == ["val has no pixel of liver", "test has no pixel of vessel"]


def test_an_image_that_is_twice_in_one_or_two_splits_is_named_with_both_cases():
    train = [facts("112", image="x"), facts("7"), facts("139", image="x")]
    val = [facts("b", image="y"), facts("c", image="y", mask="n")]
    assert found_in(train, val, [], TABLE) == [
        "112 and 139 in train are the same image",
        "b and c in val are the same image with different masks",
    ]
    train = [facts("a", image="x"), facts("b", image="y")]
    val, test = [facts("c", image="x", mask="n")], [facts("d", image="y"), facts("e", image="x")]
    assert found_in(train, val, test, TABLE) == [
        "a in train and c in val are the same image with different masks",
        "c in val and e in test are the same image with different masks",
        "b in train and d in test are the same image",
    ]


def test_the_first_three_pairs_of_a_split_are_named_and_the_others_counted():
    train = [facts(name, image="x") for name in "abcdef"]
    assert found_in([*train, facts("g")], [facts("v", image="x")], [], TABLE) == [
        "f in train and v in val are the same image",
        "a and b in train are the same image",
        "b and c in train are the same image",
        "c and d in train are the same image",
        "2 more pairs in one split are the same image",
    ]
