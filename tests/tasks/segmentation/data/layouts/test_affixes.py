"""Names of masks as public data sets and annotation tools give them."""

import pytest

from tasks.segmentation.data.formats.files import stem_of
from tasks.segmentation.data.layouts.affixes import Matcher
from tests.tasks.segmentation.conftest import refuses


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("ISIC_0000001", "ISIC_0000001_segmentation"),
        ("ISIC_0000001", "ISIC_0000001_Segmentation"),
        *(("a", f"a{end}") for end in ("", "_mask", "-mask", ".mask", " mask", "_GT", "-gt")),
        *(("a", f"a{end}") for end in ("_seg", "_label", "_labels", "_ground_truth")),
        *(("a", "mask_a"), ("a", "gt-a")),
        ("x/a", "x/mask_a"),
        ("img_001", "mask_001"),
        ("001_image", "001_mask"),
        ("001_image", "001"),
        ("a_img", "a"),
        ("21_training", "21_manual1"),
        ("01_test", "01_manual1"),
        ("plant001_rgb", "plant001_label"),
        ("b_000_leftImg8bit", "b_000_gtFine_labelIds"),
        ("x_mask", "x"),  # of evaluate.py: what a tool predicted beside the truth
        ("x_pred", "x_gt"),
        ("x_mask", "x_segmentation"),
    ],
)
def test_a_mask_finds_its_image(image, mask):
    assert Matcher([image, "other"]).match([mask]) == {mask: image}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}", "{}_drawn_by_anna"),
        ("{}", "{}_L"),  # CamVid
        ("{}", "{}_1stHO"),  # CHASE_DB1
        ("{}", "{}.jpg"),  # a.jpg and a.jpg.png
        ("{}", "{}mask"),
        ("{}", "mask{}"),
        ("t{}", "man_seg{}"),  # Cell Tracking Challenge
        ("Image{}", "Mask{}"),
        ("{}_flair", "{}_seg"),  # BraTS
        ("{}_0000", "{}"),  # nnU-Net's channel
        ("x/{}_H&E", "x/{}-anno-2"),
        ("{}", "z_{}_z"),
    ],
)
@pytest.mark.parametrize("names", [("1", "2", "10"), ("p1_a", "p1_b"), ("a", "a_b", "b_m")])
def test_text_that_all_have_in_common_is_found(image, mask, names):
    images, masks = [image.format(n) for n in names], [mask.format(n) for n in names]
    assert Matcher(images).match(masks[::-1]) == dict(zip(masks, images, strict=True))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (("a1", "a2"), ("b1", "b3")),
        (("a1", "a2"), ("b1", "b2", "b3")),
        (("a1", "a2", "a3"), ("b1", "b2")),
        (("um_1", "um_2"), ("um_road_1", "umm_road_2")),
        (("x/1", "x/2"), ("y/m1", "y/m2")),
        (("a",), ("b",)),
    ],
)
def test_names_that_do_not_fit_stay_without_an_image(images, masks):
    assert Matcher(images).match(masks) == {}


def test_the_whole_name_comes_first():
    matcher = Matcher(["a", "a_mask", "img_a"])
    masks = ["a_mask", "mask_a", "b_mask", "mask"]
    assert matcher.match(masks) == {"a_mask": "a_mask", "mask_a": "a"}


def test_a_mask_of_two_images_is_refused():
    with refuses(r"'mask_1' may belong to the images '1_image', 'img_1'"):
        Matcher(["img_1", "1_image"]).match(["mask_1"])


def test_an_ending_that_is_told_is_the_only_one():
    matcher = Matcher(["a", "b_x", "img_c"], "_x")
    masks = ["a_x", "a_mask", "b_x_x", "c_x"]
    assert matcher.match(masks) == {"a_x": "a", "b_x_x": "b_x", "c_x": "img_c"}


def test_what_was_found_is_said():
    matcher = Matcher(["a", "b", "c", "img_d"])
    matcher.match(["a_gt", "b_gt", "c", "mask_d"])
    assert matcher.note() == (
        "names differ: 2 masks '*_gt' belong to images '*', 1 masks 'mask_*' belong to images "
        "'img_*'",
    )
    assert Matcher(["a"]).note() == ()
    same = Matcher(["a"])
    assert same.match(["a"]) == {"a": "a"}
    assert same.note() == ()


@pytest.mark.parametrize(
    ("told", "ending"),
    [("_mask", "_mask"), ("_mask.png", "_mask"), ("_seg.nii.gz", "_seg"), ("", "")],
)
def test_an_ending_may_be_told_with_its_suffix(told, ending):
    assert stem_of(told) == ending
