import os

import cv2
import numpy as np
import pytest
from scipy import ndimage

from tasks.detection.data.transforms import apply, train_transform
from tasks.detection.options import AugmentOptions
from tests.backbones.errors import refuses

HEIGHT, WIDTH = 100, 160
BOX = np.array([[40, 20, 90, 70]], np.float32)


def painted(boxes, *, shape=(HEIGHT, WIDTH, 3)):
    """Return a dark image whose boxes are white."""
    image = np.zeros(shape, np.uint8)
    for x1, y1, x2, y2 in np.asarray(boxes, int):
        image[y1:y2, x1:x2] = 255
    return image


def run(transform, boxes, *, seed=0, image=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    transform.set_random_seed(seed)
    labels = np.arange(1, len(boxes) + 1) * 10
    return apply(transform, painted(boxes) if image is None else image, boxes, labels)


def white_box(image):
    rows, columns = np.nonzero(image.reshape(*image.shape[:2], -1).max(axis=2) > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flip": 1.0}, [70, 20, 120, 70]),  # 160 - 90, 160 - 40
        ({"flip": 0.0, "vertical_flip": 1.0}, [40, 30, 90, 80]),  # 100 - 70, 100 - 20
        ({"flip": 1.0, "vertical_flip": 1.0}, [70, 30, 120, 80]),
        ({"flip": 0.0, "color_jitter": 0.1}, [40, 20, 90, 70]),
    ],
)
def test_flips_move_boxes_to_the_mirrored_place(options, expected):
    image, boxes, labels = run(train_transform(AugmentOptions(**options)), BOX)
    np.testing.assert_allclose(boxes, [expected], atol=1e-4)
    assert white_box(image) == expected
    assert labels.tolist() == [10]


def resampled(image, scale, move):
    """What `scale` about the centre and then `move` make of an image, by scipy."""
    rows, columns = (
        (np.arange(size) + 0.5 - size / 2 - by) / scale + size / 2 - 0.5
        for size, by in zip(image.shape[:2], move[::-1], strict=True)
    )
    places = np.meshgrid(rows, columns, indexing="ij")
    gray = image[..., 0].astype(float)
    return ndimage.map_coordinates(gray, places, order=1, mode="grid-constant", cval=114)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_zoom_and_shift_are_those_of_their_definition(scale, seed):
    options = AugmentOptions(flip=0, scale=(scale, scale), shift=0.1)
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 1), np.uint8)
    image = np.repeat(cv2.GaussianBlur(image, (0, 0), 3)[..., None], 3, axis=2)
    centred = [[70, 40, 90, 60]]
    changed, boxes, _ = run(train_transform(options), centred, seed=seed, image=image)
    # The move is drawn, in whole pixels: the box's centre tells it, for that of the image is fixed.
    move = boxes[0, :2] - (scale * np.array([-10, -10]) + np.array([80, 50]))
    np.testing.assert_allclose(move, np.round(move), atol=1e-3)
    assert (np.abs(move) <= [16, 10]).all()
    corners = scale * np.array([-10, -10, 10, 10]) + np.array([80, 50, 80, 50]) + np.tile(move, 2)
    np.testing.assert_allclose(boxes[0], corners, atol=1e-3)
    expected = resampled(image, scale, np.round(move))
    np.testing.assert_allclose(changed[..., 0], expected, atol=3)  # OpenCV's table of 1/32 pixel


def test_colour_jitter_is_within_its_factors():
    """Brightness, contrast and saturation multiply; a gray image has no saturation or hue."""
    image = np.full((8, 8, 3), 120, np.uint8)
    jitter = train_transform(AugmentOptions(color_jitter=0.25))
    found = [run(jitter, [], seed=seed, image=image)[0] for seed in range(60)]
    values = np.array([changed[0, 0, 0] for changed in found]) / 120
    assert all((changed == changed[0, 0, 0]).all() for changed in found)  # gray stays gray
    assert 0.75 - 0.01 <= values.min() < values.max() - 0.3
    assert values.max() <= 1.25 + 0.01


def test_boxes_that_leave_the_image_are_dropped_with_their_labels():
    corners = [[0, 0, 10, 10], [75, 45, 85, 55], [150, 90, 160, 100], [20, 20, 140, 80]]
    _, boxes, labels = run(train_transform(AugmentOptions(flip=0, scale=(3, 3))), corners)
    assert labels.tolist() == [20, 40]
    np.testing.assert_allclose(boxes, [[65, 35, 95, 65], [0, 0, WIDTH, HEIGHT]], atol=1.5)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 3), (HEIGHT, WIDTH)])
@pytest.mark.parametrize("boxes", [[], BOX])
def test_every_option_takes_gray_and_colour_with_and_without_boxes(shape, boxes):
    options = {"vertical_flip": 0.5, "color_jitter": 0.4, "scale": (0.9, 1.1), "shift": 0.05}
    transform = train_transform(AugmentOptions(**options))
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    assert len({run(transform, boxes, seed=n % 3, image=image)[0].tobytes() for n in range(6)}) == 3
    for seed in range(3):
        changed, moved, labels = run(transform, boxes, seed=seed, image=image)
        assert changed.shape == shape
        assert changed.dtype == np.uint8
        assert (changed != image).any()
        assert moved.shape == (len(boxes), 4)
        assert (moved.dtype, labels.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "augment.flip takes a probability from 0 to 1, got 1.5"),
        ({"vertical_flip": -0.1}, "augment.vertical_flip takes a probability .*, got -0.1"),
        ({"color_jitter": 1.0}, "augment.color_jitter takes a number from 0 to below 1, got 1.0"),
        ({"shift": float("nan")}, "augment.shift takes a number from 0 to below 1, got nan"),
        ({"scale": (1.2, 0.8)}, r"augment.scale takes the lowest and the highest.*got \[1.2, 0.8"),
        ({"scale": (0.0, 1.0)}, r"augment.scale takes .*got \[0.0, 1.0\]"),
        ({"scale": (1.0, float("inf"))}, r"augment.scale takes .*got \[1.0, inf\]"),
        ({"scale": (1.0,)}, r"augment.scale takes .*got \[1.0\]"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with refuses(message):
        AugmentOptions(**options)


def test_a_box_that_vanishes_in_rounding_is_dropped():
    # Albumentations divides by the width in float32, where the two sides meet.
    sliver = [[2000, 2, np.nextafter(np.float32(2000), np.float32(3000)), 8], [5, 2, 50, 8]]
    image = np.zeros((10, 3000, 3), np.uint8)
    _, boxes, labels = run(train_transform(AugmentOptions(flip=0)), sliver, image=image)
    assert labels.tolist() == [20]
    assert boxes.shape == (1, 4)


def test_boxes_of_any_transform_end_at_the_new_edge():
    """Of someone's own, which does not clip."""

    def cut(*, image, bboxes, index):
        return {"image": image[:50], "bboxes": [*bboxes, (0, 60, 9, 70)], "index": [*index, 0]}

    _, boxes, labels = apply(cut, painted(BOX), BOX, np.array([10]))
    np.testing.assert_array_equal(boxes, [[40, 20, 90, 50]])
    assert labels.tolist() == [10]


def test_building_a_transform_asks_no_package_registry(monkeypatch):
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
    train_transform(AugmentOptions())
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
