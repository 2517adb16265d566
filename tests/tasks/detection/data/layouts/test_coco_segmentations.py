import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tasks.detection.data.layouts.coco_segmentations import outline
from tests.backbones.errors import refuses


def masks(count=300):
    rng = np.random.default_rng(0)
    for number in range(count):
        shape = tuple(rng.integers(1, 40, 2).tolist())
        yield (rng.random(shape) < (0.02, 0.3, 0.95, 0)[number % 4]).astype(np.uint8)
    block = np.zeros((9, 14), np.uint8)
    block[2:7, 3:11] = 1
    yield block


def test_run_lengths_have_the_box_and_area_of_their_pixels():
    for mask in masks():
        height, width = mask.shape
        encoded = coco_mask.encode(np.asfortranarray(mask))
        rows, columns = np.nonzero(mask)
        expected = (0, 0, 0, 0)
        if len(rows):
            expected = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        column_wise = mask.flatten(order="F")
        edges = np.flatnonzero(np.diff(column_wise, prepend=0)).tolist()
        plain = np.diff([0, *edges, mask.size]).tolist()
        for counts in (encoded["counts"].decode(), plain):
            found = outline({"size": [height, width], "counts": counts}, height=height, width=width)
            assert found.bbox == expected
            assert found.area == coco_mask.area(encoded)


SQUARE = [2, 3, 8, 3, 8, 7.5, 2, 7.5]


@pytest.mark.parametrize(
    ("segmentation", "bbox", "area"),
    [
        ([SQUARE], (2, 3, 6, 4.5), 27),
        (SQUARE, (2, 3, 6, 4.5), 27),
        ([[2, 3], [8, 3], [8, 7.5], [2, 7.5]], (2, 3, 6, 4.5), 27),
        ([[[2, 3], [8, 3], [8, 7.5], [2, 7.5]]], (2, 3, 6, 4.5), 27),
        ([SQUARE, [], [10, 0, 12, 0, 12, 1]], (2, 0, 10, 7.5), 28),
    ],
)
def test_polygons_have_the_box_of_their_corners(segmentation, bbox, area):
    assert outline(segmentation, height=20, width=20) == (bbox, area)


@pytest.mark.parametrize("segmentation", [None, [], {}, "", [[]]])
def test_an_empty_segmentation_has_no_box(segmentation):
    assert outline(segmentation, height=20, width=20) is None


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3]], r"a polygon \[1, 2, 3\]; expected an even number"),
        ([["a", "b"]], r"a polygon \['a', 'b'\]; expected an even number"),
        ("mask.png", r"segmentation is 'mask.png'; expected polygons .* or RLE"),
        ({"size": [5, 4], "counts": [20]}, r"RLE of size \[5, 4\]; expected .*\[4, 5\]"),
        ({"counts": [20]}, "RLE of size None"),
        ({"size": [4, 5], "counts": [3, 4]}, "RLE whose counts .* add up to 20 pixels"),
        ({"size": [4, 5], "counts": [30, -10]}, "RLE whose counts"),
        ({"size": [4, 5], "counts": "not é"}, "RLE whose counts"),
        ({"size": [4, 5]}, "RLE whose counts are None"),
    ],
)
def test_what_is_no_outline_is_refused(segmentation, message):
    with refuses(message):
        outline(segmentation, height=4, width=5)
