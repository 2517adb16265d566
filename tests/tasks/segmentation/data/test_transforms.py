"""Augmentation: masks stay exact, image and mask move together, a seed alone decides."""

import numpy as np
import pytest

from tasks.segmentation.data.cases import IGNORE
from tasks.segmentation.data.transforms import PatchTransform
from tasks.segmentation.options import AugmentOptions

STRONG = AugmentOptions(
    rotate90=0.5, rotation=30, scale=(0.8, 1.25), elastic=4, brightness=0.2, contrast=0.2, noise=0.1
)
MOVES = AugmentOptions(rotate90=0.5, rotation=30, scale=(0.8, 1.25), elastic=4)


def blobs(size=64):
    """Labels of two classes in large areas, with a corner that is ignored."""
    labels = np.zeros((size, size), np.uint8)
    labels[8:40, 20:60] = 1
    labels[45:60, 5:30] = 2
    labels[:5, :5] = IGNORE
    return labels


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_no_label_appears_that_was_not_there(channels):
    image = np.random.default_rng(0).normal(size=(channels, 64, 64)).astype(np.float32)
    transform = PatchTransform(STRONG)
    for seed in range(20):
        out, labels = transform(image, blobs(), seed=seed)
        assert out.shape == image.shape
        assert (out.dtype, labels.dtype) == (np.float32, np.uint8)
        assert set(np.unique(labels)) <= {0, 1, 2, IGNORE}


@pytest.mark.parametrize("channels", [1, 4, 7])
def test_image_and_labels_move_together(channels):
    """An image that shows the labels still shows them, but for pixels on the edges."""
    labels = blobs()
    image = np.repeat((labels == 1)[None].astype(np.float32), channels, axis=0)
    moved = 0
    for seed in range(10):
        out, truth = PatchTransform(MOVES)(image, labels, seed=seed)
        moved += not np.array_equal(truth, labels)
        for plane in out:
            assert ((plane > 0.5) == (truth == 1)).mean() > 0.97
    assert moved >= 9


def test_overlapping_classes_move_together():
    labels = blobs()
    layers = np.stack([labels == 1, labels >= 1, labels == 2]).astype(np.uint8)
    image = np.zeros((1, 64, 64), np.float32)
    _, single = PatchTransform(MOVES)(image, labels, seed=5)
    _, several = PatchTransform(MOVES)(image, layers, seed=5)
    assert several.shape == (3, 64, 64)
    assert np.array_equal(several[0], single == 1)
    _, alone = PatchTransform(MOVES)(image, layers[:1], seed=5)
    assert np.array_equal(alone, several[:1])


def test_a_seed_alone_decides():
    image = np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)
    one, other = PatchTransform(STRONG), PatchTransform(STRONG)
    for seed in (3, 4, 3):
        first, second = one(image, blobs(), seed=seed), other(image, blobs(), seed=seed)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(one(image, blobs(), seed=3)[0], one(image, blobs(), seed=4)[0])


def test_each_step_has_random_numbers_of_its_own():
    """Albumentations gives all steps of a composition the same: flips would come together."""
    corner = np.zeros((1, 8, 8), np.float32)
    corner[0, 0, 0] = 1
    places = []
    for seed in range(400):
        out, _ = PatchTransform(AugmentOptions())(corner, np.zeros((8, 8), np.uint8), seed=seed)
        places.append(int(out[0].argmax()))
    counts = [places.count(place) for place in (0, 7, 56, 63)]
    assert sum(counts) == 400
    assert min(counts) > 70  # 100 each, 8.7 the standard deviation


def test_intensities_beyond_one_are_kept():
    image = np.linspace(-3, 3, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    out, _ = PatchTransform(AugmentOptions(flip=1, vertical_flip=0))(image, blobs(), seed=0)
    assert np.array_equal(out, image[:, :, ::-1])


def test_contrast_and_brightness_by_hand():
    image = np.array([[[1.0, 3.0]]], np.float32)
    options = AugmentOptions(flip=0, vertical_flip=0, contrast=0.5, brightness=0.25)
    for seed in range(20):
        ((low, high),) = PatchTransform(options)(image, np.zeros((1, 2), np.uint8), seed=seed)[0][0]
        assert 1 <= high - low <= 3  # 2, times 0.5 to 1.5
        assert 1.75 <= (low + high) / 2 <= 2.25


def test_the_mean_elastic_shift_is_what_was_asked_for():
    rows, columns = np.mgrid[:256, :256].astype(np.float32)
    options = AugmentOptions(flip=0, vertical_flip=0, elastic=4)
    image, labels, shifts = np.stack([rows, columns]), np.zeros((256, 256), np.uint8), []
    for seed in range(24):
        out, _ = PatchTransform(options)(image, labels, seed=seed)
        inside = (slice(40, -40),) * 2
        shift = np.hypot(out[0] - rows, out[1] - columns)[inside].mean()
        if shift > 0:
            shifts.append(shift)
    assert 6 <= len(shifts) <= 18  # half of them
    assert np.mean(shifts) == pytest.approx(4, rel=0.25)
