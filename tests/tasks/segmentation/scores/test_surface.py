"""Surface distances by hand; `test_metrics` compares the scores with MONAI's."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from tasks.segmentation.scores.surface import hd95, nsd, surface_distances
from tests.tasks.segmentation.conftest import refuses


def blobs(shape, rng):
    """A mask that touches the border of the image, with holes, and one much like it."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    other = field + 0.5 * ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    return field > 0.02, other > 0.03


def test_distances_are_those_between_all_pairs_of_surface_pixels():
    prediction, truth = blobs((17, 14), np.random.default_rng(0))
    spacing = np.array([0.5, 2.0])
    to_truth, to_prediction = surface_distances(prediction, truth, spacing=(0.5, 2.0))
    points = [np.argwhere(m ^ ndimage.binary_erosion(m)) * spacing for m in (prediction, truth)]
    pairs = cdist(*points)
    np.testing.assert_allclose(to_truth, pairs.min(axis=1))
    np.testing.assert_allclose(to_prediction, pairs.min(axis=0))


def test_the_border_of_the_image_is_surface():
    full = np.ones((3, 4), dtype=bool)
    middle = np.zeros((3, 4), dtype=bool)
    middle[1, 1] = True
    to_truth, to_prediction = surface_distances(full, middle, spacing=(1, 10))
    # Of the full mask all pixels but the two in the middle.
    assert sorted(to_truth**2) == pytest.approx([1, 1, 100, 101, 101, 101, 101, 400, 401, 401])
    assert to_prediction.tolist() == [1]


def test_masks_in_two_corners_of_a_large_image():
    prediction, truth = np.zeros((2, 400, 300), dtype=bool)
    prediction[0, 0] = truth[399, 299] = True
    ways = surface_distances(prediction, truth, spacing=(3.0, 4.0))
    assert hd95(*ways) == pytest.approx(np.hypot(3 * 399, 4 * 299))
    assert nsd(*ways, tolerance=1000) == 0


def test_the_larger_of_two_percentiles_counts():
    near, far = np.zeros(20), np.arange(21.0)
    assert hd95(near, far) == hd95(far, near) == 19
    assert nsd(near, far, tolerance=4) == (20 + 5) / 41


def test_a_distance_that_is_the_tolerance_is_close_enough_in_spite_of_rounding():
    prediction, truth = np.zeros((2, 1, 9), dtype=bool)
    prediction[0, 0] = truth[0, 3] = True
    ways = surface_distances(prediction, truth, spacing=(0.1, 0.1))
    assert nsd(*ways, tolerance=0.3) == 1
    assert nsd(*ways, tolerance=0.299) == 0


FULL = np.ones((4, 4), dtype=bool)


@pytest.mark.parametrize(
    ("masks", "spacing", "message"),
    [
        ((FULL, FULL[1:]), (1, 1), r"masks \(4, 4\) and \(3, 4\) with the spacing \(1, 1\); exp"),
        ((FULL, FULL), (1, 1, 1), r"spacing \(1, 1, 1\); expected two of one shape, and a dist"),
        ((~FULL, FULL), (1, 1), "got masks of 0 and 16 pixels; an empty one has"),
        ((FULL, ~FULL), (1, 1), "got masks of 16 and 0 pixels; an empty one has"),
    ],
)
def test_masks_and_spacing_that_do_not_fit_are_refused(masks, spacing, message):
    with refuses(message):
        surface_distances(*masks, spacing=spacing)
