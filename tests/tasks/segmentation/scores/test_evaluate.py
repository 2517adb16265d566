"""Scores of hand-made segmenters, against those computed by hand and case by case."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.scores.evaluate import evaluate, evaluate_masks, print_summary, read_cases
from tasks.segmentation.scores.trained import TrainedSegmenter
from tests.tasks.segmentation.conftest import refuses, save, save_all
from tests.tasks.segmentation.scores.conftest import Made, made_card

TABLE = class_table({0: "background", 7: "cell"})
TWO = ClassTable(names=("low", "high"), values=((1,), (1,)), exclusive=False)
REGIONS = ClassTable(names=("low", "high"), values=((1, 2), (2,)), exclusive=False)


# The second class where the image is lighter than 100, the first in the rest.
LIGHT = Made(lambda x: [100 / 255 - x[:, 0], x[:, 0] - 100 / 255])


def block(rows, columns, value):
    """A picture of 40 x 50 with a block in its corner."""
    pixels = np.zeros((40, 50), np.uint8)
    pixels[:rows, :columns] = value
    return pixels


@pytest.fixture
def folders(tmp_path):
    """A case that is half right, one that is missed, one with nothing, and a false alarm."""
    nothing = block(0, 0, 0)
    save_all(tmp_path / "i", a=block(10, 10, 200), b=nothing, c=nothing, d=block(4, 5, 200))
    save_all(tmp_path / "m", a=block(5, 10, 7), b=block(2, 2, 7), c=nothing, d=nothing)
    return tmp_path / "m", tmp_path / "i"


def scored(masks, images, classes=TABLE, **options):
    card = made_card(classes, **options)
    split, unit = read_cases(masks, images, card)
    return *evaluate(TrainedSegmenter(network=LIGHT, card=card), split, tolerance=1), unit


def test_cases_and_their_summary_are_scored_as_by_hand(folders):
    cases, summary, unit = scored(*folders)
    assert unit == "px"
    assert [cases[name]["cell"]["dice"] for name in "abd"] == pytest.approx([2 * 50 / 150, 0, 0])
    a = cases["a"]["cell"]
    assert (a["precision"], a["recall"]) == (0.5, 1)
    assert (a["truth_pixels"], a["predicted_pixels"]) == (50, 100)
    assert a["hd95"] == 5  # rows 5 to 9 are too many, and the lowest is 5 away
    assert cases["b"]["cell"]["hd95"] == pytest.approx(math.hypot(40, 50))
    assert math.isnan(cases["c"]["cell"]["dice"])
    assert summary["cell"]["dice"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    counts = [summary["cell"][key] for key in ("n_cases", "n_truth", "missed", "false_alarms")]
    assert counts == [4, 2, 1, 1]
    assert summary["cell"]["miss_rate"] == 0.5


def test_what_the_truth_leaves_out_is_not_scored(tmp_path):
    mask = block(10, 10, 255)
    mask[:5, :10] = 7
    save_all(tmp_path / "i", a=block(10, 10, 200))
    save_all(tmp_path / "m", a=mask)
    classes = class_table({0: "background", 7: "cell", 255: "ignore"})
    assert scored(tmp_path / "m", tmp_path / "i", classes)[0]["a"]["cell"]["dice"] == 1


def test_a_volume_is_scored_in_millimetres(tmp_path):
    """Along slices of 4 mm; the prediction has one slice of 16 pixels more than the truth."""
    image, mask = np.zeros((2, 6, 6, 5), np.uint8)
    image[1:5, 1:5, 1:4], mask[1:5, 1:5, 1:3] = 200, 7
    save(tmp_path / "i" / "v.nii.gz", image, zooms=(1, 1, 4))
    save(tmp_path / "m" / "v.nii.gz", mask, zooms=(1, 1, 4))
    cases, _, unit = scored(tmp_path / "m", tmp_path / "i")
    assert unit == "mm"
    scores = cases["v"]["cell"]
    assert scores["dice"] == pytest.approx(2 * 32 / (32 + 48))
    assert scores["hd95"] == pytest.approx(4)
    assert scores["volume_error"] == pytest.approx(16 * 4 / 1000)  # ml


def test_classes_that_overlap_are_scored_one_by_one(tmp_path):
    save_all(tmp_path / "i", a=block(10, 10, 200))
    save_all(tmp_path / "m" / "low", a=255 - block(10, 10, 255))
    save_all(tmp_path / "m" / "high", a=block(5, 10, 255))
    classes = replace(TWO, names=("high", "low"))
    case = scored(tmp_path / "m", tmp_path / "i", classes)[0]["a"]
    # `LIGHT` finds what is light as its second class, which is "low" here.
    assert case["low"]["dice"] == case["high"]["dice"] == 0
    assert case["high"]["predicted_pixels"] == 40 * 50 - 100


def test_regions_of_one_mask_are_scored_by_their_values(tmp_path):
    """Of nnU-Net: low is 1 and 2, high is 2 alone."""
    mask = block(20, 50, 2)
    mask[20:] = 1
    save_all(tmp_path / "i", a=block(20, 50, 200))
    save_all(tmp_path / "m", a=mask)
    case = scored(tmp_path / "m", tmp_path / "i", REGIONS)[0]["a"]
    assert case["high"]["dice"] == 1
    assert case["low"]["dice"] == pytest.approx(2 * 1000 / (1000 + 2000))


def test_other_classes_are_refused(folders, tmp_path):
    with refuses(r"m has the classes background, class 7; .* on low, high"):
        read_cases(*folders, made_card(TWO))
    for name in ("high", "low"):
        save_all(tmp_path / "k" / name, **dict.fromkeys("abcd", block(1, 1, 1)))
    for table in (TWO, REGIONS):
        with refuses(r"k has the classes high, low; .* on low, high"):
            read_cases(tmp_path / "k", folders[1], made_card(table))


def test_mask_values_of_no_class_are_refused(folders):
    other = made_card(class_table({0: "background", 8: "cell"}))
    with refuses("2 of 4 cases cannot be used") as caught:
        read_cases(*folders, other)
    said = str(caught.value)
    assert "a.png has mask values that are in no class: 7 (50 pixels); expected 0, 8" in said
    # These are options of training, not of evaluate.py.
    assert "data.classes" not in said
    assert "on_bad_image" not in said
    assert said.endswith("Repair or remove them.")


def test_images_and_masks_that_do_not_fit_are_refused(folders):
    masks, images = folders
    with refuses(r"i has images of 1 channels; .* trained on 3\."):
        read_cases(masks, images, made_card(TABLE, channels=3))
    save_all(masks, a=block(5, 10, 7).T.copy())
    with refuses(r"turned by an EXIF orientation\? See --exif\)"):
        read_cases(masks, images, made_card(TABLE))
    save_all(masks, e=block(0, 0, 0))
    with refuses(r"1 of 5 masks without an image \('?e'?\)"):
        read_cases(masks, images, made_card(TABLE))


def test_the_tables_show_every_class_and_the_mean(folders, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, summary, unit = scored(*folders)
    print_summary("Scores of it", summary, unit=unit)
    lines = capsys.readouterr().out.replace("│", " ").replace("┃", " ").split("\n")
    rows = [line.split() for line in lines]
    assert ["Dice", "IoU", "precision", "recall", "HD95", "px", "NSD"] in [row[:7] for row in rows]
    counts = ["4", "3", "2", "1", "1", "0.500"]
    for name, together in ((["cell"], ["cell"]), (["mean", "of", "classes"], ["all", "classes"])):
        assert [*name, f"{2 / 9:.3f}"] in [row[: len(name) + 1] for row in rows]
        assert [*together, *counts] in rows


def test_the_layout_of_nnunet_is_matched_by_case(tmp_path):
    images, masks = tmp_path / "imagesTr", tmp_path / "labelsTr"
    save_all(images, x_0000=block(10, 10, 200), y_0000=block(4, 4, 200))
    save_all(masks, x=block(10, 10, 7), y=block(4, 4, 7))
    for hidden in (images / "._x_0000.png", masks / "._x_0000.png", masks / "._x.png"):
        hidden.write_bytes(b"x")
    cases, *_ = scored(masks, images)
    assert {name: case["cell"]["dice"] for name, case in cases.items()} == {"x": 1, "y": 1}
    save(masks / "x.tif", block(10, 10, 7))
    with refuses(r"'x.png' and 'x.tif' are both the mask of 'x'"):
        read_cases(masks, images, made_card(TABLE))


def test_masks_of_any_tool_have_the_scores_of_the_segmenter_that_finds_the_same(folders):
    masks, images = folders
    found = masks.parent / "found"
    nothing = block(0, 0, 0)
    save_all(found, a=block(10, 10, 7), b=nothing, c=nothing, d=block(4, 5, 7))
    expected, summary, _ = scored(masks, images)
    cases, total, unit, notes = evaluate_masks(found, masks.rename(masks.parent / "t"), tolerance=1)
    assert (unit, notes) == ("px", [])
    for name in "acd":
        assert cases[name]["class 7"] == pytest.approx(expected[name]["cell"], nan_ok=True)
    assert total["class 7"]["dice"] == summary["cell"]["dice"]


def test_predicted_masks_that_do_not_fit_are_refused(folders):
    masks, _ = folders
    found = masks.parent / "found"
    save_all(found, **dict.fromkeys("abc", block(0, 0, 0)))
    with refuses(r"1 of 4 masks without an image \('d'\)"):
        evaluate_masks(found, masks, tolerance=1)
    for pixels, message in (
        (block(0, 0, 0)[:30], r"d.png has the size 1 x 30 x 50, but .*d.png has 1 x 40"),
        (block(2, 2, 9), r"d.png .* in no class: 9 .* Repair the mask, or give"),
    ):
        save_all(found, d=pixels)
        with refuses(message):
            evaluate_masks(found, masks, tolerance=1)


def test_gray_images_are_scored_by_a_segmenter_of_rgb(folders):
    options = {"channels": 3, "gray_or_rgb": True}
    split, _ = read_cases(*folders, made_card(TABLE, **options))
    assert split.notes == ("4 of 4 images are gray, such as a: read as RGB",)
    cases, *_ = scored(*folders, **options)
    assert cases["a"]["cell"]["dice"] == pytest.approx(2 * 50 / 150)


def test_results_and_truth_are_matched_by_words_or_by_an_ending(tmp_path):
    truth, found = block(10, 10, 7), block(5, 10, 7)
    save_all(tmp_path / "found", a_mask=found)
    save_all(tmp_path / "plain", a=truth)
    save_all(tmp_path / "worded", a_gt=truth)
    save_all(tmp_path / "both", a_x=truth, a_y=found)

    def dice(folder, **options):
        scores, *_ = evaluate_masks(tmp_path / "found", tmp_path / folder, tolerance=1, **options)
        return scores["a_mask"]["class 7"]["dice"]

    assert dice("plain") == dice("worded") == dice("both", mask_suffix="_x") == pytest.approx(2 / 3)
    with refuses("2 of 2 masks without an image"):
        dice("both")


def test_an_ending_of_the_truth_is_told(folders):
    masks, images = folders
    for path in list(masks.iterdir()):
        path.rename(path.with_name(f"{path.stem}_by_anna.png"))
        save_all(masks, **{f"{path.stem}_by_tom": block(0, 0, 0)})
    split, _ = read_cases(masks, images, made_card(TABLE), mask_suffix="_by_anna")
    assert [case.masks[0].name for case in split.cases] == [f"{n}_by_anna.png" for n in "abcd"]
    assert split.notes == (
        "names differ: 4 masks '*_by_anna' belong to images '*'",
        "4 masks do not end in '_by_anna': skipped",
    )
