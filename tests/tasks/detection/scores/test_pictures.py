"""Drawn boxes: right place, right colour, readable captions, nothing outside the image."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tasks.common.report.panels import class_color
from tasks.detection.scores.pictures import (
    PredictionSample,
    draw_boxes,
    prediction_grid,
    sample_panels,
)
from tests.backbones.errors import refuses

CLASSES = ["disk", "square", "triangle"]


def gray(height=640, width=640, value=90):
    return np.full((height, width, 3), value, np.uint8)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def labels(*values):
    return np.array(values, np.int64)


def draw(image, box, label, **options):
    return draw_boxes(image, boxes(box), labels(label), classes=CLASSES, **options)


def is_color(pixels, color):
    return (pixels == np.array(color, np.uint8)).all(-1)


def test_border_pixels_just_inside_the_box_have_the_class_colour():
    drawn = draw(gray(), [100, 200, 300, 500], 2)
    color = class_color(1)
    assert is_color(drawn[200:202, 100:300], color).all()
    assert is_color(drawn[498:500, 100:300], color).all()
    assert is_color(drawn[200:500, 100:102], color).all()
    assert is_color(drawn[200:500, 298:300], color).all()
    assert (drawn[202, 102:298] == 45).all()  # the dark rim
    assert (drawn[203:497, 103:297] == 90).all()
    assert (drawn[200:501, 300:] == 90).all()
    assert (drawn[500:] == 90).all()


def test_a_small_image_is_enlarged_and_its_boxes_with_it():
    drawn = draw(gray(128, 112), [10, 40, 50, 100], 1)
    assert drawn.shape == (640, 560, 3)
    rows, columns = np.nonzero(is_color(drawn[200:], class_color(0)))  # the caption is above
    assert (columns.min(), columns.max() + 1) == (50, 250)
    assert (rows.min() + 200, rows.max() + 1 + 200) == (200, 500)


def test_lines_grow_with_the_image():
    big = draw(gray(1280, 1920), [300, 300, 900, 900], 1)
    assert is_color(big[600, 300:306], class_color(0)).all()
    assert not is_color(big[600, 306], class_color(0))


def test_without_boxes_the_image_comes_back_and_the_given_one_stays():
    image = gray()
    np.testing.assert_array_equal(draw_boxes(image, boxes(), labels(), classes=CLASSES), image)
    draw(image, [100, 200, 300, 500], 2)
    assert (image == 90).all()


@pytest.mark.parametrize(
    "box",
    [
        *([0, 0, 40, 30], [600, 0, 640, 30], [0, 610, 40, 640], [600, 610, 640, 640]),  # corners
        *([0, 0, 640, 640], [-50, -50, 700, 700], [639.8, 639.8, 640, 640]),
    ],
)
def test_a_caption_is_whole_wherever_the_box_is(box):
    caption = caption_of(draw(gray(), [300, 300, 340, 330], 2), top=270, left=300)
    drawn = draw(gray(), box, 2)
    windows = np.lib.stride_tricks.sliding_window_view(drawn, caption.shape)[:, [0, -1], 0]
    assert (windows == caption).all((2, 3, 4)).any()  # at the left or the right edge, at any height


def caption_of(drawn, *, top, left):
    """Cut the caption out of its surroundings, which are 90 everywhere."""
    part = drawn[top : top + 30, left : left + 120]
    rows, columns = np.nonzero((part != 90).any(-1))
    return part[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def test_captions_of_touching_boxes_do_not_hide_each_other():
    box = [300, 300, 330, 330]
    one, two = (draw(gray(), box, label) for label in (1, 2))
    both = draw_boxes(gray(), boxes(box, box), labels(1, 2), classes=CLASSES)

    def ground(drawn, color):
        outside = drawn.copy()
        outside[300:330, 300:330] = 90
        return np.count_nonzero(is_color(outside, color))

    assert ground(both, class_color(0)) == ground(one, class_color(0)) > 100
    assert ground(both, class_color(1)) == ground(two, class_color(1)) > 100


def test_the_score_of_each_box_is_written_in_its_caption():
    box, scores = [100, 200, 300, 500], np.array([[0.934], [0.926], [0.914]])
    first, second, other = (draw(gray(), box, 1, scores=score) for score in scores)
    np.testing.assert_array_equal(first, second)  # both "disk 0.93"
    assert (first != draw(gray(), box, 1)).any()
    assert (first != other).any()
    two = boxes([100, 200, 300, 500], [400, 200, 600, 500])
    drawn = draw_boxes(gray(), two, labels(1, 1), classes=CLASSES, scores=np.array([0.5, 0.9]))
    assert (drawn[150:200, 100:300] != drawn[150:200, 400:600]).any()
    np.testing.assert_array_equal(drawn[200:500, 100:300], drawn[200:500, 400:600])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((8, 8, 3), np.float32)}, r"image is float32 of shape \(8, 8, 3\); exp"),
        ({"image": np.zeros((3, 8, 8), np.uint8)}, r"shape \(3, 8, 8\); .* move its channels last"),
        ({"labels": labels(1, 2)}, r"lengths of boxes, labels, scores: \[1, 2\]; expected one"),
        ({"scores": np.zeros(3)}, r"scores: \[1, 1, 3\]; expected one; filter alike"),
        ({"labels": labels(0)}, r"labels\[0\] is 0; expected 1 to 3, 0 is the background"),
        ({"labels": labels(4)}, r"labels\[0\] is 4; expected 1 to 3, .* map the data set's"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, message):
    good = {"image": gray(), "boxes": boxes([1, 2, 3, 4]), "labels": labels(1)}
    with refuses(message):
        draw_boxes(**good | change, classes=CLASSES)


SAMPLE = PredictionSample(
    image=gray(520, 520),
    heading="a.png",
    truth_boxes=boxes([100, 100, 200, 200]),
    truth_labels=labels(1),
    boxes=boxes([110, 300, 210, 400], [300, 300, 400, 400]),
    labels=labels(2, 3),
    scores=np.array([0.6, 0.4]),
)


@pytest.mark.parametrize(("threshold", "found"), [(0.5, [1]), (0.55, [1]), (0.3, [1, 2])])
def test_panels_show_truth_and_confident_predictions_and_count_them(threshold, found):
    truth, prediction = sample_panels(SAMPLE, CLASSES, threshold)
    assert (truth.title, prediction.title) == ("a.png: truth (1)", f"prediction ({len(found)})")
    for panel, expected in ((truth, [0]), (prediction, found)):
        seen = [is_color(panel.picture, class_color(k)).sum() > 700 for k in range(3)]
        assert np.flatnonzero(seen).tolist() == expected  # 4 sides of 100 x 2 pixels


def test_crowd_regions_are_dashed_on_both_sides():
    for panel in sample_panels(replace(SAMPLE, crowd_boxes=boxes([250, 50, 500, 250])), CLASSES, 0):
        line = is_color(panel.picture[249, 250:500], (255, 255, 255))
        assert 0.4 < line.mean() < 0.6
        assert np.count_nonzero(np.diff(line)) > 20


def grid(tmp_path, samples, **options):
    path = tmp_path / "predictions.png"
    prediction_grid(samples, classes=CLASSES, path=path, **options)
    return np.asarray(Image.open(path))


def test_the_threshold_is_in_the_title(tmp_path):
    at_50, at_55 = (grid(tmp_path, [SAMPLE], score_threshold=t) for t in (0.5, 0.55))
    changed = (at_50 != at_55).any((1, 2)).nonzero()[0]
    assert 0 < changed.min() <= changed.max() < 56  # the same boxes under another title


def test_eight_samples_fill_four_rows_whatever_their_shapes(tmp_path):
    samples = [replace(SAMPLE, image=gray(*shape)) for shape in [(520, 260), (260, 520)] * 4]
    one, picture = grid(tmp_path, samples[:1]), grid(tmp_path, samples)
    assert picture.shape[1] == 16 + 4 * (520 + 16)
    assert picture.shape[0] - one.shape[0] == 3 * (520 + 24 + 16)
    assert is_color(picture, class_color(0)).sum() > 8 * 700


def test_a_grid_of_nothing_is_refused(tmp_path):
    with refuses(r"samples is empty; expected at least 1; pass some"):
        grid(tmp_path, [])
