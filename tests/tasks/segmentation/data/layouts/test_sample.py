"""The generated tissue: what is in it; its folder is tested with `sample_folder`."""

from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.segmentation.data.cases import class_table, encode
from tasks.segmentation.data.layouts import sample
from tasks.segmentation.data.layouts.sample import CLASSES, sample_cases, write_sample
from tests.tasks.common.data.sample_set.test_folder import contents
from tests.tasks.segmentation.conftest import refuses

SPLITS = {"train": 48, "val": 5}
GLAND, NUCLEUS, VESSEL = 80, 160, 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("data") / "sample", images=SPLITS)


def pairs(root):
    """Return the image and the mask of all cases, by name."""
    found = {}
    for path in sorted((root / "images").glob("*.png")):
        picture, mask = (Image.open(root / kind / path.name) for kind in ("images", "masks"))
        assert (picture.mode, mask.mode) == ("L", "L")
        found[path.stem] = np.asarray(picture), np.asarray(mask)
    return found


def test_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path):
    images = {"train": 5, "val": 3}
    first = contents(write_sample(tmp_path / "first", images=images))
    again = contents(write_sample(tmp_path / "again", images=images))
    other = contents(write_sample(tmp_path / "other", images=images, seed=1))
    assert again == first
    assert all(again[name] != other[name] for name in again if name.endswith(".png"))


def test_an_image_does_not_depend_on_how_many_others_there_are(folder, tmp_path):
    few = contents(write_sample(tmp_path / "few", images={"val": 1, "train": 3}))
    many = contents(folder)
    names = [name for name in few if name.endswith(".png")]
    assert len(names) == 8
    assert [few[name] for name in names] == [many[name] for name in names]


def test_no_image_is_there_twice(folder):
    images = [text for name, text in contents(folder).items() if name.startswith("images/")]
    assert len(set(images)) == len(images) == 48 + 5


def test_masks_have_the_size_of_their_image_and_the_values_of_the_table(folder):
    table = class_table(dict(CLASSES))
    for image, mask in pairs(folder).values():
        assert mask.shape == image.shape
        encode(mask, table, source=folder)  # raises on any other value
    shapes = Counter(image.shape for image, _ in pairs(folder).values())
    assert set(shapes) == {(128, 128), (112, 144), (144, 112)}
    assert shapes[128, 128] > 53 / 2


def test_one_image_in_twelve_has_no_structure_and_the_others_have_all_kinds(folder):
    values = [set(np.unique(m)) for name, (_, m) in pairs(folder).items() if "train" in name]
    assert [i for i, found in enumerate(values) if found == {0}] == [6, 18, 30, 42]
    kinds = Counter(value for found in values for value in found)
    assert min(kinds[value] for value in (GLAND, NUCLEUS, VESSEL)) > 0.8 * (48 - 4)


def test_glands_are_large_nuclei_small_and_vessels_long_and_thin(folder):
    lone = {GLAND: [], NUCLEUS: [], VESSEL: []}
    for _, mask in pairs(folder).values():
        for value, found in lone.items():
            inside = np.pad(mask == value, 1).astype(np.uint8)
            areas = cv2.connectedComponentsWithStats(inside)[2][1:, cv2.CC_STAT_AREA]
            width = 2 * cv2.distanceTransform(inside, cv2.DIST_L2, 5).max() - 1
            found += [(area, width) for area in areas if len(areas) == 1 or value == NUCLEUS]
    medians = {value: np.median(np.array(found), axis=0) for value, found in lone.items()}
    assert medians[GLAND][0] > 10 * medians[NUCLEUS][0] > 10 * np.pi * 4**2
    assert medians[VESSEL][0] > 2 * medians[NUCLEUS][0]
    assert medians[VESSEL][1] < 7 < medians[GLAND][1]


def test_masks_lie_where_the_edges_of_the_image_are(folder):
    """The steepest places of the image are the rims of the mask, exactly and not a pixel aside."""
    strength = np.zeros((5, 5))
    for image, mask in pairs(folder).values():
        smooth = image.astype(np.float32)
        slope = np.hypot(cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1))
        # Of both sides, so that a rim has no direction.
        rim = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        for y, x in np.ndindex(5, 5):
            strength[y, x] += slope[np.roll(rim, (y - 2, x - 2), (0, 1))].sum()
    # A parabola through the middle and its neighbours has its top at the shift of the masks.
    for before, middle, after in (strength[1:4, 2], strength[2, 1:4]):
        assert middle == strength.max()
        assert abs((after - before) / (2 * (2 * middle - before - after))) < 0.1


def test_brightness_alone_does_not_tell_the_class(folder):
    """Even the best table from gray level to class, made from these very images, finds little."""
    found = pairs(folder).values()
    gray = np.concatenate([image.ravel() for image, _ in found])
    truth = np.concatenate([mask.ravel() for _, mask in found])
    shares = np.array([np.bincount(gray[truth == v], minlength=256) for v in CLASSES], float)
    shares /= shares.sum(1, keepdims=True)  # each class as frequent as the others
    best = np.array(list(CLASSES))[shares.argmax(0)][gray]
    for value in (GLAND, NUCLEUS, VESSEL):
        hits = np.count_nonzero((best == value) & (truth == value))
        dice = 2 * hits / (np.count_nonzero(best == value) + np.count_nonzero(truth == value))
        assert dice < 0.55


def test_images_without_structures_show_things_that_are_none(folder):
    for image, mask in pairs(folder).values():
        if not mask.any():
            near, far = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), s) for s in (1, 8))
            assert np.abs(near - far).max() > 18  # tissue and noise alone reach 13


def test_the_two_images_of_a_patient_are_alike(folder):
    """They share their noise, seen where neighbours differ most often by little."""
    noise = []
    for image, _ in pairs(folder).values():
        noise.append(np.median(np.abs(np.diff(image.astype(float), 2, axis=1))))
    first, second = np.array(noise[:48]).reshape(24, 2).T
    assert np.corrcoef(first, second)[0, 1] > 0.8
    assert np.corrcoef(first, np.roll(second, 1))[0, 1] < 0.5


def test_cases_have_two_images_per_patient_all_on_one_side(tmp_path, monkeypatch):
    assert sample.DEFAULT_IMAGES == {"train": 96, "val": 24, "test": 24}
    monkeypatch.setattr(sample, "DEFAULT_IMAGES", {"train": 6, "val": 4, "test": 2})
    cases = sample_cases(root=str(tmp_path / "sample"))
    assert cases.classes.names == ("background", "gland", "nucleus", "vessel")
    assert cases.classes.values == ((0,), (80,), (160,), (255,))
    assert Counter(case.split for case in cases.cases) == {"train": 6, "val": 4, "test": 2}
    assert len({case.name for case in cases.cases}) == 12
    patients = Counter(case.patient for case in cases.cases)
    assert set(patients) == {f"patient_{k:03d}" for k in range(6)}
    assert set(patients.values()) == {2}
    assert len({(case.patient, case.split) for case in cases.cases}) == 6
    for case in cases.cases:
        assert case.images == (tmp_path / "sample" / "images" / f"{case.name}.png",)
        assert case.masks == (tmp_path / "sample" / "masks" / f"{case.name}.png",)
        assert case.images[0].is_file()
        assert case.masks[0].is_file()


def test_settings_out_of_range_are_refused(tmp_path):
    with refuses(r"size=63 .* expected at least one split, size 64"):
        write_sample(tmp_path / "sample", size=63)
    assert not (tmp_path / "sample").exists()
