import math
from pathlib import Path

import numpy as np
import pytest

from tasks.detection.data.raw_annotations import LabelledImage, Region
from tests.tasks.detection.conftest import cleaned_set

INF, NAN = math.inf, math.nan


def clean(*regions):
    about = {"path": Path("images/a.jpg"), "file_name": "sub/a.jpg", "image_id": 7}
    image = LabelledImage(**about, height=100, width=200, regions=list(regions))
    return cleaned_set([image], category_ids=[3, 9], ignored_reason="crowd")


def region(*bbox, label=1, **options):
    return Region(label=label, bbox=bbox, **options)


def test_a_good_box_becomes_xyxy_and_stays_xywh_in_the_truth():
    annotations = clean(region(10.5, 20, 30, 40, label=2))
    (record,) = annotations.images
    np.testing.assert_array_equal(record.boxes, np.float32([[10.5, 20, 40.5, 60]]))
    np.testing.assert_array_equal(record.labels, [2])
    assert (record.boxes.dtype, record.labels.dtype) == (np.float32, np.int64)
    entry = {"id": 1, "image_id": 7, "category_id": 9}
    assert annotations.truth == {
        "images": [{"id": 7, "file_name": "sub/a.jpg", "height": 100, "width": 200}],
        "annotations": [entry | {"bbox": [10.5, 20, 30, 40], "area": 1200, "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }
    assert annotations.cleaned == {}


USELESS = {  # the last without an area: right of 190 by less than float32 can tell
    "no area": [(10, 10, 0, 5), (10, 10, 5, 0), (10, 10, 5, -1e-9), (190, 10, 1e-9, 5)],
    "with NaN or infinity": [
        *((NAN, 10, 5, 5), (10, 10, NAN, 5), (10, 10, INF, 5), (-INF, 10, 5, 5), (10, 10, 5, -INF)),
    ],
    "outside the image": [
        *((200, 10, 5, 5), (10, 100, 5, 5), (-5, 10, 5, 5), (10, -9, 5, 5), (1e300, 0, 1e299, 5)),
    ],
}


@pytest.mark.parametrize("reason", USELESS)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_box_of_no_use_is_neither_learnt_nor_scored_and_counted(reason, ignored):
    for bbox in USELESS[reason]:
        annotations = clean(region(*bbox, ignored=ignored), region(0, 0, 5, 5))
        np.testing.assert_array_equal(annotations.images[0].boxes, np.float32([[0, 0, 5, 5]]))
        truth = [(entry["id"], entry["bbox"]) for entry in annotations.truth["annotations"]]
        assert truth == [(1, [0, 0, 5, 5])], bbox
        assert annotations.cleaned == {reason: 1}, bbox


TURNED, CLIPPED = {"with corners put in order": 1}, {"clipped to the image": 1}
ORDERED = [10, 20, 30, 10]


@pytest.mark.parametrize(
    ("bbox", "learnt", "scored", "counted"),
    [
        ((10, 20, 30, 10), [10, 20, 40, 30], ORDERED, {}),
        ((40, 20, -30, 10), [10, 20, 40, 30], ORDERED, TURNED),
        ((10, 30, 30, -10), [10, 20, 40, 30], ORDERED, TURNED),
        ((40, 30, -30, -10), [10, 20, 40, 30], ORDERED, TURNED),
        ((-5, 10, 20, 5), [0, 10, 15, 15], None, CLIPPED),
        ((10, -5, 20, 10), [10, 0, 30, 5], None, CLIPPED),
        ((190, 90, 20, 30), [190, 90, 200, 100], None, CLIPPED),
        ((-1e9, -1e9, 1e300, 1e300), [0, 0, 200, 100], None, CLIPPED),
        ((0, 0, 200, 100), [0, 0, 200, 100], None, {}),
        # 199.9 + 0.1 is 200 + 3e-14 in float64, and 200 in float32.
        ((199.9, 0, 0.1 + 1e-13, 5), [199.9, 0, 200, 5], None, {}),
    ],
)
def test_a_box_is_put_in_order_and_learnt_clipped_and_scored_whole(bbox, learnt, scored, counted):
    annotations = clean(region(*bbox), region(1, 1, 5, 5))
    np.testing.assert_array_equal(annotations.images[0].boxes, np.float32([learnt, [1, 1, 6, 6]]))
    truth = annotations.truth["annotations"][0]
    x, y, width, height = truth["bbox"]
    assert [x, y, width, height] == (scored or list(bbox))
    assert truth["area"] == width * height
    assert annotations.cleaned == counted


def test_an_ignored_region_is_scored_but_not_learnt():
    crowd, dog = region(-5, 0, 50, 50, ignored=True), region(0, 0, 5, 5, label=2)
    annotations = clean(crowd, dog, region(0, 0, 0, 5))
    assert annotations.images[0].labels.tolist() == [2]
    assert [entry["iscrowd"] for entry in annotations.truth["annotations"]] == [1, 0]
    assert annotations.cleaned == {"crowd": 1, "no area": 1}


def test_the_area_of_the_file_is_scored_when_there_is_one():
    annotations = clean(region(0, 0, 5, 5, area=0.0), region(0, 0, 5, 5, area=7.5))
    assert [entry["area"] for entry in annotations.truth["annotations"]] == [0.0, 7.5]


def test_an_image_without_regions_stays():
    annotations = clean()
    assert annotations.images[0].boxes.shape == (0, 4)
    assert annotations.images[0].boxes.dtype == np.float32
    assert [entry["id"] for entry in annotations.truth["images"]] == [7]
