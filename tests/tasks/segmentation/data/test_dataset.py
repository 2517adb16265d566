"""Patches and whole cases, of images whose values say where a pixel is."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tasks.common.data.samplers import EpochSampler
from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.data.dataset import CaseDataset, PatchDataset, whole_input
from tasks.segmentation.data.input import Preprocessing, scaling_of
from tasks.segmentation.data.store import CaseStore
from tasks.segmentation.data.transforms import PatchTransform
from tasks.segmentation.options import AugmentOptions, InputOptions

ELEVEN = class_table({0: "background", **{value: f"class {value}" for value in range(1, 11)}})
TURNS = AugmentOptions(flip=0.5, vertical_flip=0.5, rotate90=0.5)
STILL = AugmentOptions(flip=0, vertical_flip=0, brightness=1.0)


def numbered(depth, height, width, *, case=0):
    """Return an image whose values name the case, slice, row and column, and its mask."""
    z, y, x = np.indices((depth, height, width))
    values = ((case * 4 + z) * 40 + y) * 40 + x
    return values[None].astype(np.uint16), truth_at(values)


def truth_at(values):
    """Return the labels of pixels by the values of the image."""
    z, y, x = values // 1600 % 4, values // 40 % 40, values % 40
    return ((3 * y + 5 * x + 7 * z) % 11).astype(np.uint8)


def values_in(plane):
    return plane.mul(65536).round().int().numpy()


def patches(case_set, *, transform=None, seed=0, std=(1.0,), neighbours=0, limit=10**9, **options):
    given = {"normalisation": "window", "window": (0, 65536), "patch": (8, 8), "patches": 6}
    options = InputOptions(**given | {"foreground": 0} | options)
    store = CaseStore(case_set, options, limit=limit)
    return PatchDataset(
        store,
        [store[case].image.shape[1] for case in range(len(store))],
        preprocessing=Preprocessing(mean=(0.0,) * len(std), std=std, neighbours=neighbours),
        options=options,
        transform=transform,
        seed=seed,
    )


def one_pixel(*, at=(2, 5), shape=(12, 12)):
    """Return a black image with one pixel of the structure, and its mask."""
    mask = np.zeros((1, *shape), np.uint8)
    mask[0, *at] = 1
    return np.zeros((1, 1, *shape), np.uint8), mask


def holds(dataset, keys, label=1):
    """Return for each key whether the patch holds a class."""
    return np.array([bool((dataset[key][1] == label).any()) for key in keys])


def test_a_patch_depends_on_seed_epoch_and_index_alone(write_set):
    data = write_set([numbered(3, 30, 30)], classes=ELEVEN)
    keys = [(epoch, index) for epoch in (0, 1) for index in range(6)]

    def drawn(keys, seed=0):
        strong = AugmentOptions(rotation=20, elastic=2, noise=0.1, contrast=0.2)
        dataset = patches(data, transform=PatchTransform(strong), foreground=0.5, seed=seed)
        return {key: dataset[key][0].numpy().tobytes() for key in keys}

    first = drawn(keys)
    assert drawn(reversed(keys)) == first
    assert drawn([4]) == {4: first[0, 4]}
    assert len({*first.values(), *drawn(keys, seed=1).values()}) == 24


def test_workers_and_memory_change_no_patch(write_set):
    data = write_set([numbered(3, 30, 30)], classes=ELEVEN)

    def epoch(workers, limit):
        dataset = patches(data, foreground=0.5, limit=limit)
        sampler = EpochSampler(6, seed=0, shuffle=True)
        loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers)
        return torch.stack([torch.cat([images[:, 0], labels]) for images, labels in loader])

    alone = epoch(0, limit=10**9)
    assert torch.equal(epoch(2, limit=10**9), alone)
    assert torch.equal(epoch(0, limit=0), alone)


def test_changing_a_sample_changes_no_case(write_set):
    dataset = patches(write_set([numbered(1, 8, 8)], classes=ELEVEN))
    before = dataset.store[0].labels.copy()
    for part in dataset[0]:
        part.zero_()
    assert np.array_equal(dataset.store[0].labels, before)


@pytest.mark.parametrize(
    ("count", "epochs", "in_an_epoch", "in_all"),
    [(6, 1, {1}, {1}), (4, 3, {0, 1}, {2}), (9, 2, {1, 2}, {3}), (1, 6, {0, 1}, {1})],
)
def test_every_slice_has_its_turn(write_set, count, epochs, in_an_epoch, in_all):
    pairs = [numbered(depth, 12, 12, case=case) for case, depth in enumerate([1, 3, 2])]
    dataset = patches(write_set(pairs, classes=ELEVEN), patches=count)
    assert len(dataset) == count
    total = Counter()
    for epoch in range(epochs):
        images = [dataset[epoch, index][0] for index in range(count)]
        seen = Counter(int(values_in(image).flat[0]) // 1600 for image in images)
        everything = {0, 4, 5, 6, 8, 9}
        assert set(seen) <= everything
        assert {seen[slice_] for slice_ in everything} == in_an_epoch
        total += seen
    assert set(total.values()) == in_all
    assert len(total) == 6


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_foreground_is_as_often_in_a_patch_as_told_and_otherwise_by_chance(write_set, share):
    """A patch of 8 x 8 in 12 x 12 begins in one of 5 x 5 places, of which 3 x 5 hold (2, 5)."""
    dataset = patches(write_set([one_pixel()]), foreground=share, patches=500)
    assert holds(dataset, range(500)).mean() == pytest.approx(share + (1 - share) * 0.6, abs=0.05)


def test_a_structure_of_one_pixel_in_a_large_image_is_always_held(write_set):
    corners = [one_pixel(at=at, shape=(300, 260)) for at in [(0, 0), (299, 259), (150, 7)]]
    dataset = patches(write_set(corners), foreground=1, patches=60)
    assert holds(dataset, range(60)).all()


def test_a_structure_is_fetched_from_another_slice(write_set):
    image, mask = numbered(4, 30, 30)
    mask[:] = 0
    mask[3, 20:22, 11] = 1
    dataset = patches(write_set([(image, mask)]), foreground=1, patches=40)
    for index in range(40):
        seen, labels = dataset[index]
        found = set(values_in(seen[0])[labels == 1] % 4800)
        assert found
        assert found <= {20 * 40 + 11, 21 * 40 + 11}  # in slice 3, rows 20 and 21


def test_a_drawn_pixel_is_anywhere_in_its_patch(write_set):
    dataset = patches(write_set([one_pixel(at=(15, 20), shape=(40, 40))]), foreground=1)
    places = [np.argwhere(dataset[0, index][1].numpy() == 1)[0] for index in range(400)]
    for axis in (0, 1):
        counts = Counter(int(place[axis]) for place in places)
        assert set(counts) == set(range(8))
        assert min(counts.values()) > 25  # 50 are expected


def test_classes_are_drawn_evenly_and_then_their_pixels(write_set):
    """The patch is one pixel: the one that was drawn. Class 2 has three pixels, class 1 600."""
    image, mask = numbered(2, 20, 40)
    mask[:] = 0
    mask[0, :15] = 1
    mask[[0, 1, 1], [17, 0, 19], [3, 0, 39]] = 2
    classes = class_table({0: "background", 1: "liver", 2: "lesion"})
    data = write_set([(image, mask)], classes=classes)
    dataset = patches(data, foreground=1, patch=(1, 1), patches=600)
    samples = [dataset[0, index] for index in range(600)]
    drawn = [(values_in(image).item(), label.item()) for image, label in samples]
    labels = Counter(label for _, label in drawn)
    assert set(labels) == {1, 2}
    assert labels[2] == pytest.approx(300, abs=40)
    lesion = Counter(value for value, label in drawn if label == 2)
    assert set(lesion) == {17 * 40 + 3, 1600, 1600 + 19 * 40 + 39}
    assert min(lesion.values()) > 70  # 100 are expected


def test_a_case_without_structures_is_shown_all_the_same(write_set):
    image, mask = numbered(1, 9, 9)
    assert patches(write_set([(image, 0 * mask)]), foreground=1)[0][1].sum() == 0


def test_how_a_patch_is_changed_does_not_tell_whether_a_class_was_drawn_for_it(write_set):
    """Of a black image nothing is left but the shift of its brightness, from -1 to 1."""
    data = write_set([one_pixel(at=(20, 20), shape=(40, 40))])
    dataset = patches(data, transform=PatchTransform(STILL), foreground=0.5, patch=(4, 4))
    shifts = np.array([float(dataset[0, index][0][0, 0, 0]) for index in range(300)])
    drawn = holds(dataset, [(0, index) for index in range(300)])
    assert 100 < drawn.sum() < 200
    assert abs(shifts[drawn].mean() - shifts[~drawn].mean()) < 0.3


@pytest.mark.parametrize("transform", [None, PatchTransform(TURNS)])
@pytest.mark.parametrize(("height", "width"), [(30, 33), (8, 8), (5, 20), (3, 5)])
def test_labels_are_those_of_the_pixels_that_are_shown(write_set, transform, height, width):
    data = write_set([numbered(3, height, width)], classes=ELEVEN)
    dataset = patches(data, transform=transform, foreground=0.5)
    for index in range(20):
        image, labels = dataset[0, index]
        assert (image.shape, image.dtype) == ((1, 8, 8), torch.float32)
        assert (labels.shape, labels.dtype) == ((8, 8), torch.uint8)
        assert np.array_equal(labels, truth_at(values_in(image[0])))


@pytest.mark.parametrize(
    ("height", "rows"),
    [(5, [0, 0, 1, 2, 3, 4, 4, 3]), (3, [1, 0, 0, 1, 2, 2, 1, 0])],  # the second twice
)
def test_an_image_smaller_than_the_patch_is_mirrored_at_its_edges(write_set, height, rows):
    """Five rows lack three: one above, two below. Of 20 columns eight are cut out."""
    image = values_in(patches(write_set([numbered(1, height, 20)], classes=ELEVEN))[0][0][0])
    assert [row[0] // 40 for row in image] == rows
    assert set(np.diff(image % 40).flat) == {1}


def test_neighbours_in_a_patch_show_the_same_rows_and_columns(write_set):
    data = write_set([numbered(4, 30, 30)], classes=ELEVEN)
    dataset = patches(data, std=(1.0,) * 3, neighbours=1, foreground=0.5)
    for index in range(30):
        image, labels = dataset[0, index]
        before, here, after = (values_in(plane) for plane in image)
        assert np.array_equal(labels, truth_at(here))
        z = here // 1600
        assert np.array_equal(before, here - 1600 * (z > 0))
        assert np.array_equal(after, here + 1600 * (z < 3))


def test_seven_channels_are_normalised_each_by_its_own_numbers(write_set):
    random = np.random.default_rng(0)
    image = random.integers(0, 30, (7, 1, 20, 24)).astype(np.uint8)
    image[:, :, :, 12:] += (np.arange(7, dtype=np.uint8) * 20)[:, None, None, None]
    data = write_set([(image, np.zeros((1, 20, 24), np.uint8))])
    dataset = patches(data, normalisation="zscore", patch=(20, 8), std=(1.0,) * 7)
    seen = dataset[0][0].numpy()
    flat = image.reshape(7, -1).astype(float)
    mean, std = (part[:, None, None] for part in (flat.mean(axis=1), flat.std(axis=1)))
    cuts = [(image[:, 0, :, start : start + 8] - mean) / std for start in range(17)]
    assert sum(np.allclose(seen, cut, atol=1e-4) for cut in cuts) == 1
    assert np.abs(seen.mean(axis=(1, 2))).max() > 0.2  # that of the whole case is 0


LAYERED = ClassTable(names=("a", "b"), values=((1, 2), (2,)), exclusive=False, ignored=(9,))


@pytest.mark.parametrize("transform", [None, PatchTransform(TURNS)])
def test_overlapping_classes_have_a_layer_each_and_ignored_pixels_in_all(write_set, transform):
    image, mask = numbered(2, 20, 20)
    mask[:] = 0
    mask[:, 5:15, 5:15], mask[1, 8:12, 8:12], mask[:, :, 10] = 1, 2, 9
    data = write_set([(image, mask)], classes=LAYERED)
    dataset = patches(data, transform=transform, foreground=0.5)
    for index in range(20):
        seen, labels = dataset[0, index]
        values = values_in(seen[0])
        cut = mask.reshape(-1)[(values // 1600 * 20 + values // 40 % 40) * 20 + values % 40]
        assert labels.shape == (2, 8, 8)
        assert np.array_equal(labels[0], np.select([cut == 9, cut > 0], [IGNORE, 1], 0))
        assert np.array_equal(labels[1], np.select([cut == 9, cut == 2], [IGNORE, 1], 0))


def test_whole_cases_come_in_order_as_the_network_sees_them(write_set):
    pairs = [numbered(1, 9, 7), numbered(3, 6, 10, case=1)]
    options = InputOptions(normalisation="zscore")
    store = CaseStore(write_set(pairs, classes=ELEVEN), options, limit=0)
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), neighbours=1)
    dataset = CaseDataset(store, preprocessing=preprocessing)
    assert len(dataset) == 2
    for number, (image, mask) in enumerate(pairs):
        sample = dataset[5, number]
        assert sample.name == dataset[number].name == f"case{number}"
        assert np.array_equal(sample.labels, mask)
        assert sample.image.shape == (len(mask), 3, *mask.shape[1:])
        scaling = scaling_of(image, options, source=Path())
        for z, seen in enumerate(sample.image):
            assert np.array_equal(seen, preprocessing(image, z, scaling=scaling))
        assert torch.equal(whole_input(image, scaling, preprocessing=preprocessing), sample.image)
    assert dataset[0].spacing == (1, 1, 1)
    assert dataset[1].spacing == (3, 0.5, 1)
