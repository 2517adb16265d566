"""Drawn labels, judged by their pixels: right place, right colour."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from tasks.common.report.panels import class_color
from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.scores import pictures
from tasks.segmentation.scores.pictures import (
    FILL,
    GRAY,
    SegmentationSample,
    prediction_grid,
    save_overlay,
)
from tests.tasks.segmentation.conftest import refuses

CLASSES = class_table({0: "background", 1: "gland", 2: "nucleus"})
LAYERS = ClassTable(names=("optic disc", "optic cup"), values=((1,), (1,)), exclusive=False)
ORANGE, BLUE = (np.array(class_color(index)) for index in range(2))
SCALE = 7  # of 100 pixels to 640 or more
SQUARE = [20, 59, 30, 79]  # first and last row and column of `square`


def dark(height=100, width=100):
    """Return an image whose percentiles are 0 and 255, and which is black but for its last rows."""
    image = np.zeros((height, width), np.uint8)
    image[-5:] = 255
    return image


def square(value=1, *, where=np.s_[20:60, 30:80]):
    labels = np.zeros((100, 100), np.uint8)
    labels[where] = value
    return labels


def drawn(tmp_path, image, labels, classes=CLASSES):
    """Return the picture without its margin, and the legend below."""
    path = tmp_path / "overlay.png"
    save_overlay(path, image, labels, classes=classes)
    sheet = np.asarray(Image.open(path)).astype(int)
    return sheet[16:716, 16:716], sheet[716:]


def is_color(pixels, color):
    return np.abs(pixels - np.asarray(color)).max(-1) <= 1


def place(pixels, color):
    """Return the first and last row and column of a colour, in pixels of the image."""
    rows, columns = np.nonzero(is_color(pixels, color))
    return [int(v) // SCALE for v in (rows.min(), rows.max(), columns.min(), columns.max())]


def test_a_class_is_filled_and_framed_where_it_is(tmp_path):
    pixels, legend = drawn(tmp_path, dark(), square())
    assert place(pixels, ORANGE) == SQUARE
    assert is_color(pixels[142:418, 212:558], ORANGE * FILL).all()  # 2 pixels inside the contour
    assert is_color(pixels[140:142, 210:560], ORANGE).all()
    outside = np.ones((700, 700), bool)
    outside[140:420, 210:560] = outside[-35 - SCALE :] = False
    assert (pixels[outside] == 0).all()
    assert is_color(legend, ORANGE).sum() > 100
    assert not is_color(legend, BLUE).any()


def test_ignored_pixels_are_striped_in_gray(tmp_path):
    pixels, _ = drawn(tmp_path, dark(), square(IGNORE))
    assert place(pixels, np.array(GRAY) * 2 * FILL) == SQUARE
    row = is_color(pixels[300], 0)
    assert np.count_nonzero(np.diff(row.astype(int))) > 16  # stripes across 50 of 100 pixels


def test_overlapping_classes_show_both_contours(tmp_path):
    labels = np.stack([square(where=np.s_[10:70, 10:70]), square(where=np.s_[30:90, 30:90])])
    pixels, _ = drawn(tmp_path, dark(), labels, LAYERS)
    assert place(pixels, ORANGE) == [10, 69, 10, 69]
    assert place(pixels, BLUE) == [30, 89, 30, 89]
    assert place(pixels, FILL * BLUE + (1 - FILL) * FILL * ORANGE) == [30, 69, 30, 69]


def test_a_class_that_fills_the_image_has_a_contour_around_it(tmp_path):
    pixels, _ = drawn(tmp_path, dark(), np.ones((100, 100), np.uint8))
    assert place(pixels, ORANGE) == [0, 99, 0, 99]


@pytest.mark.parametrize("offset", [0, -1000, 30_000])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_an_image_is_scaled_by_its_own_percentiles(tmp_path, dtype, offset):
    image = np.tile(np.arange(100), (100, 1))
    image[0, 0] = 2500  # a speck that would darken all the rest
    row = drawn(tmp_path, (image + offset).astype(dtype), square(0))[0][350, :, 0]
    assert (row[0], row[-1]) == (0, 255)
    assert 120 < row[350] < 136


def test_three_channels_are_colours_and_more_show_the_middle_one(tmp_path):
    red_first = np.stack([dark(), dark() * 0, dark() * 0])
    assert is_color(drawn(tmp_path, red_first, square(0))[0], [255, 0, 0]).any()
    channels = np.stack([dark().T, dark().T, dark(), dark().T, dark().T])
    expected = drawn(tmp_path, dark(), square(0))[0]
    for shown in (channels, channels[2:3]):
        np.testing.assert_array_equal(drawn(tmp_path, shown, square(0))[0], expected)


def test_an_image_of_one_value_is_drawn(tmp_path):
    assert is_color(drawn(tmp_path, np.full((100, 100), 7), square())[0], ORANGE).any()


@pytest.mark.parametrize(
    ("image", "labels", "classes", "message"),
    [
        (dark(), square()[1:], CLASSES, r"shape \(99, 100\); expected \(100, 100\) for an image"),
        (dark(), square(), LAYERS, r"\(100, 100\); expected \(2, 100, 100\) .*2 classes that over"),
        (dark(), square(3), CLASSES, "have the value 3; expected 0 to 2, or 255 where nothing"),
        (dark(), np.stack([square(2)] * 2), LAYERS, "have the value 2; expected 0 to 1, or 255"),
        (np.zeros((1, 2, 9, 9)), square(), CLASSES, r"image has .*\(1, 2, 9, 9\); .* take one sli"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, image, labels, classes, message):
    with refuses(message):
        drawn(tmp_path, image, labels, classes)
    assert list(tmp_path.iterdir()) == []


SAMPLE = SegmentationSample(
    name="case 7", image=dark(), truth=square(1), prediction=square(2), dice=0.25
)


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Draw samples; return the rows of panels, and the legend."""

    def draw(samples):
        sheet = Mock(side_effect=pictures.sheet)
        with monkeypatch.context() as patch:
            patch.setattr(pictures, "sheet", sheet)
            prediction_grid(samples, classes=CLASSES, path=tmp_path / "p.png")
        assert (tmp_path / "p.png").is_file()
        return sheet.call_args.args[0], sheet.call_args.kwargs["legend"]

    return draw


def test_the_grid_shows_the_image_the_truth_and_the_prediction(grid):
    (panels,), _ = grid([SAMPLE])
    image, truth, found = (panel.picture.astype(int) for panel in panels)
    assert (image[..., 0] == image[..., 2]).all()
    for picture, color, other in ((truth, ORANGE, BLUE), (found, BLUE, ORANGE)):
        assert is_color(picture, (color * FILL).round()).mean() > 0.1
        assert not is_color(picture, (other * FILL).round()).any()


def test_titles_name_the_case_and_its_dice_and_the_legend_what_occurs_in_order(grid):
    other = replace(SAMPLE, name="a $x$", dice=float("nan"), truth=square(IGNORE))
    rows, legend = grid([replace(SAMPLE, truth=square(2), prediction=square(1)), other])
    assert [[panel.title for panel in row] for row in rows] == [
        ["case 7", "truth", "prediction, Dice 0.250"],
        ["a $x$", "truth", "prediction, Dice not defined"],
    ]
    assert legend == {"gland": tuple(ORANGE), "nucleus": tuple(BLUE), "ignore": GRAY}
    assert list(legend) == ["gland", "nucleus", "ignore"]


def test_of_many_samples_the_first_eight_are_drawn_whatever_their_shapes(grid):
    labels = {"truth": np.zeros((30, 90), np.uint8), "prediction": np.ones((30, 90), np.uint8)}
    wide = replace(SAMPLE, name="wide", image=dark(30, 90), **labels)
    rows, _ = grid([SAMPLE, wide] * 5)
    assert [row[0].title for row in rows] == ["case 7", "wide"] * 4
    assert {row[0].picture.shape for row in rows} == {(352, 352, 3), (117, 352, 3)}


def test_a_grid_of_nothing_is_refused(grid):
    with refuses(r"samples is empty; expected at least 1; pass some"):
        grid([])
