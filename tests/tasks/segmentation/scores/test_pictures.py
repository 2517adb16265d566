"""Drawn labels, judged by the pixels of the file: right place, right colour."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.scores.pictures import (
    FILL,
    OKABE_ITO,
    SegmentationSample,
    prediction_grid,
    save_overlay,
)

CLASSES = class_table({0: "background", 1: "gland", 2: "nucleus"})
LAYERS = ClassTable(names=("optic disc", "optic cup"), values=((1,), (1,)), exclusive=False)
ORANGE, BLUE = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in OKABE_ITO[:2])


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
    path = tmp_path / "overlay.png"
    save_overlay(path, image, labels, classes=classes)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def is_color(pixels, color):
    return np.abs(pixels - np.asarray(color)).max(-1) <= 2


def place(pixels, color):
    """Return where a colour lies: top, bottom, left, right, as shares of a dark image's sides."""
    rows, columns = np.nonzero(is_color(pixels, 0))
    top, left = rows.min(), columns.min()
    # Its 95 dark rows and 100 columns; the legend below has black letters but no black rows.
    width = columns.max() + 1 - left
    inside = is_color(pixels, color)[: top + width]
    y, x = np.nonzero(inside)
    return [
        (v - o) / width
        for v, o in ((y.min(), top), (y.max(), top), (x.min(), left), (x.max(), left))
    ]


def test_a_class_is_filled_where_it_is_in_its_colour(tmp_path):
    pixels = drawn(tmp_path, dark(), square())

    np.testing.assert_allclose(place(pixels, ORANGE * FILL), [0.2, 0.6, 0.3, 0.8], atol=0.006)


def test_its_contour_has_the_full_colour(tmp_path):
    pixels = drawn(tmp_path, dark(), square())

    np.testing.assert_allclose(place(pixels, ORANGE), [0.2, 0.6, 0.3, 0.8], atol=0.006)
    assert not is_color(pixels, BLUE).any()


def test_the_background_stays_as_it_is(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    plain = drawn(tmp_path, image, square(0))
    labelled = drawn(tmp_path, image, square(1, where=np.s_[:, 60:]))[: len(plain) - 40]

    # The legend takes no more than a tenth, which moves the pixels.
    assert plain.shape[1] == labelled.shape[1]
    assert (plain[..., 0] == plain[..., 2]).mean() > 0.99  # gray
    half = labelled[:, : labelled.shape[1] // 2]
    assert (half[..., 0] == half[..., 2]).mean() > 0.99
    assert (labelled[..., 0] != labelled[..., 2]).mean() > 0.3


def test_ignored_pixels_are_striped_in_gray(tmp_path):
    pixels = drawn(tmp_path, dark(), square(IGNORE))
    gray = np.full(3, 0xB0) * 2 * FILL

    np.testing.assert_allclose(place(pixels, gray), [0.2, 0.6, 0.3, 0.8], atol=0.03)
    black = is_color(pixels, 0)
    row = black[len(black) * 4 // 10]
    assert np.count_nonzero(np.diff(row.astype(int))) > 16  # stripes across 50 of 100 pixels


def test_overlapping_classes_show_both_contours(tmp_path):
    labels = np.stack([square(where=np.s_[10:70, 10:70]), square(where=np.s_[30:90, 30:90])])

    pixels = drawn(tmp_path, dark(), labels, LAYERS)

    np.testing.assert_allclose(place(pixels, ORANGE), [0.1, 0.7, 0.1, 0.7], atol=0.006)
    np.testing.assert_allclose(place(pixels, BLUE), [0.3, 0.9, 0.3, 0.9], atol=0.006)
    both = FILL * BLUE + (1 - FILL) * FILL * ORANGE
    np.testing.assert_allclose(place(pixels, both), [0.3, 0.7, 0.3, 0.7], atol=0.006)


def test_a_class_that_fills_the_image_has_a_contour_around_it(tmp_path):
    pixels = drawn(tmp_path, dark(), np.ones((100, 100), np.uint8))

    rows, columns = np.nonzero(is_color(pixels, ORANGE))
    assert np.ptp(rows) > 0.8 * len(pixels)
    assert np.ptp(columns) > 0.9 * pixels.shape[1]


def test_the_eighth_class_has_the_first_colour_and_another_line(tmp_path):
    table = class_table({0: "background"} | {k: f"organ {k}" for k in range(1, 9)})
    first, eighth = (drawn(tmp_path, dark(), square(k), table) for k in (1, 8))

    shares = [np.count_nonzero(is_color(pixels, ORANGE)) for pixels in (first, eighth)]
    assert 0.3 < shares[1] / shares[0] < 0.8
    place_of_both = [place(pixels, ORANGE * FILL) for pixels in (first, eighth)]
    np.testing.assert_allclose(*place_of_both, atol=0.006)


@pytest.mark.parametrize("offset", [0, -1000, 30_000])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_an_image_is_scaled_by_its_own_percentiles(tmp_path, dtype, offset):
    image = np.tile(np.arange(100), (100, 1))
    image[0, 0] = 2500  # a speck that would darken all the rest

    shown = drawn(tmp_path, (image + offset).astype(dtype), square(0))
    row = shown[shown.shape[0] // 2, :, 0]
    row = row[np.flatnonzero(row < 255)[0] :]

    assert row[0] == 0
    middle = row[len(row) // 2]
    assert 120 < middle < 136


def test_three_channels_are_colours_and_more_show_the_middle_one(tmp_path):
    channels = np.stack([dark().T, dark().T, dark(), dark().T, dark().T])
    red_first = np.stack([dark(), dark() * 0, dark() * 0])

    assert is_color(drawn(tmp_path, red_first, square(0)), [255, 0, 0]).any()
    for shown in (channels, channels[2], channels[2:3]):
        np.testing.assert_array_equal(
            drawn(tmp_path, shown, square(0)), drawn(tmp_path, dark(), square(0))
        )


def test_an_image_of_one_value_is_drawn(tmp_path):
    assert is_color(drawn(tmp_path, np.full((100, 100), 7), square()), ORANGE).any()


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
    with pytest.raises(ValueError, match=message):
        drawn(tmp_path, image, labels, classes)
    assert list(tmp_path.iterdir()) == []


SAMPLE = SegmentationSample(
    name="case 7", image=dark(), truth=square(1), prediction=square(2), dice=0.25
)


@pytest.fixture
def texts(monkeypatch):
    """Collect what the figure says: titles by row, and the legend."""
    found = {}
    save = Figure.savefig

    def remember(figure, *args, **options):
        found["titles"] = [axes.get_title() for axes in figure.axes]
        found["legend"] = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return found


def grid(tmp_path, samples, classes=CLASSES):
    path = tmp_path / "new" / "predictions.png"
    prediction_grid(samples, classes=classes, path=path)
    assert [file.name for file in path.parent.iterdir()] == ["predictions.png"]
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_grid_shows_the_image_the_truth_and_the_prediction(tmp_path):
    picture = grid(tmp_path, [SAMPLE])
    left, middle, right = np.array_split(picture[:-60], 3, axis=1)

    assert (left[..., 0] == left[..., 2]).all()
    assert is_color(middle, ORANGE * FILL).mean() > 0.1
    assert not is_color(middle, BLUE * FILL).any()
    assert is_color(right, BLUE * FILL).mean() > 0.1
    assert not is_color(right, ORANGE * FILL).any()


def test_titles_name_the_case_and_its_dice_and_the_legend_its_classes(tmp_path, texts):
    other = replace(SAMPLE, name="a $x$ _" + 60 * "y", dice=float("nan"), truth=square(IGNORE))

    grid(tmp_path, [replace(SAMPLE, truth=square(2)), other])

    assert texts["titles"] == [
        "case 7",
        "truth",
        "prediction, Dice 0.250",
        "..." + 37 * "y",
        "truth",
        "prediction, Dice not defined",
    ]
    assert texts["legend"] == ["nucleus", "ignore"]


def test_the_legend_keeps_the_order_of_the_classes(tmp_path, texts):
    grid(tmp_path, [replace(SAMPLE, truth=square(2), prediction=square(1))])

    assert texts["legend"] == ["gland", "nucleus"]


def test_names_are_not_taken_for_formulas_or_hidden_labels(tmp_path, texts):
    names = ClassTable(names=("background", "_hidden", r"$\frac$"), values=((0,), (1,), (2,)))

    grid(tmp_path, [replace(SAMPLE, name=r"$\frac$")], names)

    assert texts["legend"] == ["_hidden", r"$\frac$"]


def test_of_many_samples_the_first_eight_are_drawn_whatever_their_shapes(tmp_path, texts):
    wide = replace(
        SAMPLE,
        name="wide",
        image=dark(30, 90),
        truth=np.zeros((30, 90), np.uint8),
        prediction=np.ones((30, 90), np.uint8),
    )

    grid(tmp_path, [SAMPLE, wide] * 5)

    assert texts["titles"][::3] == ["case 7", "wide"] * 4


def test_a_grid_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"samples is empty; expected at least 1; pass some"):
        grid(tmp_path, [])


def test_a_failed_write_keeps_the_old_picture(tmp_path, monkeypatch):
    before = grid(tmp_path, [SAMPLE])

    def full_disk(_figure, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="disk full"):
        grid(tmp_path, [SAMPLE, SAMPLE])

    monkeypatch.undo()
    files = list((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["predictions.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(files[0]).convert("RGB")), before)
