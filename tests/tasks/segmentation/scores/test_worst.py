"""The worst cases of a test against all of them sorted, and their worst slices against a count."""

import numpy as np
import pytest

from tasks.segmentation.data.cases import IGNORE
from tasks.segmentation.scores.worst import MOST, SIDE, mean_dice, with_case, worst_of


def scores(*dice):
    return {f"class {n}": {"dice": value} for n, value in enumerate(dice)}


def labels(depth=1, height=4, width=6, **slices):
    """A volume of zeros; ``z2=3`` makes the first 3 pixels of slice 2 a 1."""
    whole = np.zeros((depth, height, width), np.uint8)
    for name, count in slices.items():
        whole[int(name[1:])].flat[:count] = 1
    return whole


def test_the_lowest_dice_are_kept_whatever_the_order():
    random = np.random.default_rng(0)
    dice = {f"case{n}": value for n, value in enumerate(random.random(40))}
    worst = {}
    for name, value in dice.items():
        worst = with_case(worst, name, scores(value), labels(), labels(z0=2))
    assert list(worst) == sorted(dice, key=dice.get)[:MOST]
    assert [one.dice for one in worst.values()] == sorted(dice.values())[:MOST]
    halves = [{n: w for n, w in worst.items() if (int(n[4:]) % 2) == k} for k in (0, 1)]
    assert list(worst_of(halves[0] | halves[1])) == list(worst)


@pytest.mark.parametrize("dice", [(1.0,), (1.0, 1.0), (float("nan"),)])
def test_a_case_without_an_error_or_a_dice_is_not_kept(dice):
    assert with_case({}, "a", scores(*dice), labels(), labels()) == {}


def test_the_dice_of_a_case_is_the_mean_of_the_classes_it_has():
    assert mean_dice(scores(0.5, float("nan"), 1.0)) == 0.75
    assert np.isnan(mean_dice(scores(float("nan"))))


def test_the_slice_with_most_wrong_pixels_is_kept_without_what_is_unknown():
    truth, found = labels(4, z1=9, z2=5, z3=2), labels(4, z1=8)
    truth[3].flat[3:20], found[3].flat[3:20] = IGNORE, 1
    one = with_case({}, "a", scores(0.4), found, truth)["a"]
    assert (one.index, one.corner, one.size, one.dice) == (2, (0, 0), (4, 6), 0.4)
    np.testing.assert_array_equal(one.truth, truth[2])
    np.testing.assert_array_equal(one.prediction, found[2])


def test_the_slice_of_classes_that_overlap_counts_the_pixels_that_any_gets_wrong():
    truth, found = (np.stack([labels(3), labels(3)]) for _ in range(2))
    truth[0, 0, 0, :3] = truth[1, 0, 0, :3] = 1  # 3 pixels, in both classes
    truth[0, 2, 0, :2] = truth[1, 2, 1, :2] = 1  # 4 pixels
    one = with_case({}, "a", scores(0.4, 0.4), found, truth)["a"]
    assert one.index == 2
    assert one.truth.shape == one.prediction.shape == (2, 4, 6)


@pytest.mark.parametrize("place", [(0, 0), (2999, 1999), (1500, 700)])
def test_of_a_large_slice_the_part_with_most_wrong_pixels_is_kept(place):
    truth, found = (np.zeros((1, 3000, 2000), np.uint8) for _ in range(2))
    rows, columns = (slice(max(0, at - 30), at + 30) for at in place)
    truth[0, rows, columns] = 1
    wrong = int(truth.sum())
    found[0, 1000:1010, 1990:] = 1  # fewer, elsewhere
    one = with_case({}, "a", scores(0.2), found, truth)["a"]
    assert one.truth.shape == (SIDE, SIDE)
    assert one.size == (3000, 2000)
    assert int(one.truth.sum()) == wrong
    y, x = one.corner
    np.testing.assert_array_equal(one.truth, truth[0, y : y + SIDE, x : x + SIDE])
