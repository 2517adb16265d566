import re

import numpy as np
import pytest

from tasks.detection.data.box_formats import judge
from tests.backbones.errors import refuses

XYWH, XYXY = "[x, y, width, height]", "[x1, y1, x2, y2]"


def drawn(count=60, seed=0):
    """Return boxes xywh at random places of images of three sizes, and the sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.array([(640, 480), (300, 400), (1200, 675)], float)[rng.integers(0, 3, count)]
    extent = rng.uniform(0.02, 0.5, (count, 2)) * sizes
    place = rng.uniform(0, 1, (count, 2)) * (sizes - extent)
    return np.concatenate([place, extent], axis=1), sizes


def as_xyxy(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


WRITTEN = {
    XYWH: lambda b: b,
    XYXY: as_xyxy,
    "[centre x, centre y, width, height]": lambda b: np.hstack([b[:, :2] + b[:, 2:] / 2, b[:, 2:]]),
    "[y, x, height, width]": lambda b: b[:, [1, 0, 3, 2]],
    "[y1, x1, y2, x2]": lambda b: as_xyxy(b)[:, [1, 0, 3, 2]],
    "[x1, x2, y1, y2]": lambda b: as_xyxy(b)[:, [0, 2, 1, 3]],
}


@pytest.mark.parametrize(("stored", "declared"), [("xywh", XYWH), ("xyxy", XYXY)])
@pytest.mark.parametrize("actual", WRITTEN)
def test_boxes_of_another_format_and_shares_of_the_image_are_refused(stored, declared, actual):
    right, wrong, written = re.escape(declared), re.escape(actual), WRITTEN[actual]
    for seed in range(5):
        boxes, sizes = drawn(seed=seed)
        with refuses(r"60 of 60 boxes lie within 0\.\.1, .* as YOLO's are"):
            judge(written(boxes / np.tile(sizes, 2)), sizes, stored=stored)
        if actual == declared:
            assert judge(written(boxes), sizes, stored=stored) == []
            continue
        with refuses(rf"60 .* no image as {right}, .* fit as {wrong}; expected {right} in pix"):
            judge(written(boxes), sizes, stored=stored)


def test_a_few_boxes_within_a_pixel_are_told_of():
    boxes, sizes = drawn()
    boxes[3] = [0, 0, 1, 1]
    (said,) = judge(boxes, sizes, stored="xywh")
    assert said.startswith("1 of 60 boxes lie within 0..1, such as [0, 0, 1, 1] in an image of ")
    assert judge([[0, 0, 1, 1]], [[100, 100]], stored="xywh")


def test_boxes_of_larger_images_are_refused_and_of_smaller_ones_told_of():
    boxes, sizes = drawn()
    with refuses(r"reach far out of their images.* reach to x = \d+"):
        judge(boxes * 3, sizes, stored="xywh")
    (said,) = judge(boxes / 2, sizes, stored="xywh")
    assert "all 60 boxes lie in the upper left 50% x 50% of their" in said
    (said,) = judge(boxes / np.tile(sizes, 2) * 100, sizes, stored="xywh")
    assert "or are they in per cent?" in said
    (said,) = judge(boxes * 1.15, sizes, stored="xywh")
    assert "of 60 boxes reach far out of their images: were they drawn in images of" in said


def test_a_careless_box_among_large_objects_is_told_of():
    boxes = np.array([[20, 15, 160, 80], [30, 20, 150, 70], [10, 5, 170, 90], [20, 15, 190, 80]])
    (said,) = judge(boxes, np.tile([200, 100], (4, 1)), stored="xywh")
    assert said == (
        "1 of 4 boxes fit no image as [x, y, width, height], such as [20, 15, 190, 80] in an image "
        "of 200x100, while they fit as [x1, y1, x2, y2]"
    )
    with refuses("1 of 1 boxes fit no image"):
        judge(boxes[3:], [[200, 100]], stored="xywh")


def test_what_one_careless_annotator_does_is_not_refused():
    boxes, sizes = drawn()
    boxes[0] = [-5, -5, 40, 40]
    boxes[1] = [sizes[1, 0] - 20, 10, 25, 30]
    boxes[2] = [np.nan, 0, 5, 5]
    boxes[3] = [7, 7, 0, 0]
    boxes[4] = boxes[4] + [boxes[4, 2], 0, -2 * boxes[4, 2], 0]  # drawn from right to left
    assert judge(boxes, sizes, stored="xywh") == []
    assert judge(as_xyxy(boxes), sizes, stored="xyxy") == []
    assert judge(np.zeros((0, 4)), np.zeros((0, 2)), stored="xywh") == []


def test_corners_that_are_swapped_are_another_habit_than_widths():
    boxes, sizes = drawn()
    swapped = as_xyxy(boxes)[:, [2, 3, 0, 1]]
    assert judge(swapped, sizes, stored="xyxy") == []
    assert judge(swapped[:2], sizes[:2], stored="xyxy") == []
