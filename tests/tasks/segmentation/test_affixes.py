import pytest

from tasks.segmentation.affixes import Matcher


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a", "a"),
        ("ISIC_0000001", "ISIC_0000001_segmentation"),
        ("a", "a_mask"),
        ("a", "a_GT"),
        ("a", "a-gt"),
        ("a", "a.mask"),
        ("a", "a_ground_truth"),
        ("a", "a_labels"),
        ("a", "mask_a"),
        ("a", "gt-a"),
        ("x/a", "x/mask_a"),
        ("img_001", "mask_001"),
        ("001_image", "001_mask"),
        ("a_img", "a"),
        ("21_training", "21_manual1"),
        ("b_000_leftImg8bit", "b_000_gtFine_labelIds"),
    ],
)
def test_a_mask_finds_its_image(image, mask):
    assert Matcher([image, "other"]).image_of(mask) == image


def test_the_whole_name_comes_first():
    matcher = Matcher(["a", "a_mask", "img_a"])
    assert matcher.image_of("a_mask") == "a_mask"
    assert matcher.image_of("mask_a") == "a"
    assert matcher.image_of("b_mask") == "b_mask"
    assert matcher.image_of("mask") == "mask"


def test_a_mask_of_two_images_is_refused():
    with pytest.raises(ValueError, match=r"'mask_1' may belong to the images '1_image', 'img_1'"):
        Matcher(["img_1", "1_image"]).image_of("mask_1")


def test_an_ending_that_is_told_is_the_only_one():
    matcher = Matcher(["a", "b_x"], "_x")
    assert matcher.image_of("a_x") == "a"
    assert matcher.image_of("a_mask") == "a_mask"
    assert matcher.image_of("b_x_x") == "b_x"


def test_what_was_found_is_said():
    matcher = Matcher(["a", "b", "c"])
    for name in ("a_gt", "b_gt", "c"):
        matcher.image_of(name, count=True)

    assert matcher.note() == (
        "masks are called as their images but for a word: 2 have '_gt' at the end",
    )
    assert Matcher(["a"]).note() == ()
