"""Predictions of hand-made segmenters whose answer is known, as files."""

from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tasks.common.predict.predict import PredictOptions
from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.scores.predict import draw_predictions, find_cases, predict_cases
from tasks.segmentation.scores.trained import TrainedSegmenter
from tests.tasks.segmentation.conftest import misses, refuses, save, save_all
from tests.tasks.segmentation.data.conftest import noise
from tests.tasks.segmentation.scores.conftest import Made, made_card

TABLE = class_table({0: "background", 7: "cell", 300: "debris"})
TWO = ClassTable(names=("dark", "bright"), values=((1,), (1,)), exclusive=False)


def levels(channel):
    """Background below 100, cell below 200, debris from there on."""

    def logits(x):
        light, dark = x[:, channel] > 199.5 / 255, x[:, channel] < 99.5 / 255
        return [part.float() for part in (dark, ~light & ~dark, light)]

    return Made(logits)


def expected(values):
    return np.select([values < 100, values < 200], [0, 7], 300)


def filled(value):
    return np.full((20, 20), value, np.float32)


@pytest.fixture
def predict(tmp_path):
    """Segment the files of a folder, or one file, and write to ``out``; return the lines."""

    def run(source=tmp_path, segmenter=None, *, classes=TABLE, settings=None, **options):
        card, output = made_card(classes, **options), tmp_path / "out"
        cases = find_cases([source], channels=card.channels, output=output)
        model = TrainedSegmenter(network=segmenter or levels(0), card=card)
        steps = predict_cases(model, cases, PredictOptions(output=output, **settings or {}))
        return [step.text for step in steps if step.text and ": " in step.text]

    return run


@pytest.fixture
def mask(tmp_path):
    """Read a mask that was written."""

    def read(name):
        path = tmp_path / "out" / "masks" / name
        return np.asarray(nib.load(path).dataobj if ".nii" in name else Image.open(path))

    return read


def test_a_picture_larger_than_a_window_gets_the_values_of_the_training(tmp_path, predict, mask):
    image = noise(70, 45)
    (line,) = predict(save(tmp_path / "a.png", image))
    np.testing.assert_array_equal(mask("a.png"), expected(image))
    shares = [(expected(image) == value).mean() for value in (7, 300)]
    assert line == f"a: cell {shares[0]:.1%}, debris {shares[1]:.1%}"


def test_an_overlay_shows_what_was_found(tmp_path, predict):
    dark = np.full((40, 40), 20, np.uint8)
    light = np.pad(np.full((20, 20), 150, np.uint8), 10, constant_values=20)
    save_all(tmp_path, dark=dark, light=light)
    lines = predict()
    assert lines == ["dark: cell 0.0%, debris 0.0%", "light: cell 25.0%, debris 0.0%"]
    for name, coloured in (("dark", False), ("light", True)):
        with Image.open(tmp_path / "out" / "overlays" / f"{name}.png") as overlay:
            pixels = np.asarray(overlay.convert("RGB")).astype(int)
        assert bool(np.ptp(pixels, axis=2).max() > 50) == coloured


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
def test_a_volume_gets_its_mask_where_its_own_voxels_are(tmp_path, predict, mask, orientation):
    values = noise(9, 7, 5)
    codes = nib.orientations.axcodes2ornt(tuple(orientation))
    affine = np.zeros((4, 4))
    affine[codes[:, 0].astype(int), range(3)] = codes[:, 1] * (0.7, 1.1, 4.0)
    affine[:, 3] = 3, -20, 50, 1
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "ct.nii.gz")
    predict()
    np.testing.assert_array_equal(mask("ct.nii.gz"), expected(values))
    written = nib.load(tmp_path / "out" / "masks" / "ct.nii.gz")
    np.testing.assert_array_equal(written.affine, nib.load(tmp_path / "ct.nii.gz").affine)
    assert nib.aff2axcodes(written.affine) == tuple(orientation)
    assert written.header.get_zooms() == pytest.approx((0.7, 1.1, 4.0))


def test_the_slice_before_is_the_one_on_the_lower_side_in_space(tmp_path, predict, mask):
    """A segmenter that sees three slices and answers with the first."""
    values = noise(6, 5, 4)
    save(tmp_path / "v.nii", values, zooms=(1, 1, -5))
    predict(neighbours=1)
    lower = values[:, :, [1, 2, 3, 3]]  # stored from top to bottom
    np.testing.assert_array_equal(mask("v.nii"), expected(lower))


def test_channels_in_files_of_their_own_are_seen_in_their_order(tmp_path, predict, mask):
    one, two = noise(20, 30), noise(20, 30, seed=1)
    save_all(tmp_path, p_0001=two, p_0000=one)
    table = class_table({0: "background", 1: "first is lighter"})
    predict(segmenter=Made(lambda x: [x[:, 1], x[:, 0]]), channels=2, classes=table)
    np.testing.assert_array_equal(mask("p.png"), (one > two).astype(int))


def test_classes_that_overlap_get_a_file_each(tmp_path, predict, mask):
    image = noise(33, 40)
    save(tmp_path / "a.png", image)
    (line,) = predict(segmenter=Made(lambda x: [0.6 - x[:, 0], x[:, 0] - 0.4]), classes=TWO)
    dark, bright = mask("a_dark.png"), mask("a_bright.png")
    np.testing.assert_array_equal(dark, (image < 0.6 * 255).astype(int))
    np.testing.assert_array_equal(bright, (image > 0.4 * 255).astype(int))
    assert line == f"a: dark {dark.mean():.1%}, bright {bright.mean():.1%}"


def test_sixteen_bits_are_scaled_by_their_own_range(tmp_path, predict, mask):
    image = noise(20, 20).astype(np.uint16) * 257
    save(tmp_path / "a.tif", image)
    predict()
    np.testing.assert_array_equal(mask("a.tif"), expected(image // 257))


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("z.png", None, r"z\.png cannot be decoded"),
        ("z.png", noise(20, 20, 3), r"z\.png has 3 channels in 1 files, but .* trained on 1; give"),
        ("z.tif", filled(3), r"z\.tif has values from 3 to 3, .*; give images like those"),
        ("z.tif", filled(np.nan), r"z\.tif has numbers that are NaN or infinite; repair it"),
    ],
)
def test_a_bad_image_is_named_and_the_others_are_written(tmp_path, predict, name, pixels, message):
    save_all(tmp_path, a=noise(20, 20), zz=noise(20, 20))
    path = save(tmp_path / name, noise(64, 64) if pixels is None else pixels)
    if pixels is None:
        path.write_bytes(path.read_bytes()[:700])
    start = r"^1 of 3 files were skipped: 'z'; everything else .*\. The first: .*"
    with refuses(start + message):
        predict()
    for folder in ("masks", "overlays"):
        written = sorted(path.name for path in (tmp_path / "out" / folder).iterdir())
        assert written == ["a.png", "zz.png"]


def test_a_file_that_is_no_image_by_its_name_is_skipped(tmp_path, predict):
    (tmp_path / "notes.txt").write_text("x")
    with refuses(r"1 of 1 .*'notes.txt'; nothing .* no image by its name"):
        predict(tmp_path / "notes.txt")


def test_files_of_one_name_in_two_folders_stay_two(tmp_path, predict, mask):
    images = {name: noise(20, 20, seed=seed) for seed, name in enumerate("ab")}
    for name, image in images.items():
        save(tmp_path / name / "1.png", image)
    assert [line.partition(":")[0] for line in predict()] == ["a/1", "b/1"]
    for name, image in images.items():
        np.testing.assert_array_equal(mask(f"{name}/1.png"), expected(image))
    assert list(names(tmp_path, 1)) == ["a/1", "b/1"]  # what was written is no image


def test_masks_that_would_replace_each_other_are_refused_before_any_is_written(tmp_path, predict):
    save_all(tmp_path, a=noise(20, 20), a_b=noise(20, 20))
    classes = ClassTable(names=("b_x", "x"), values=((1,), (1,)), exclusive=False)
    with refuses(r"of 'a' and 'a_b', would be called 'a_b_x'"):
        predict(classes=classes)
    assert not (tmp_path / "out").exists()


def names(folder, channels):
    found = find_cases([folder], channels=channels, output=folder / "out")
    return {case.name: [path.name for path in case.images] for case in found}


def test_a_damaged_first_channel_does_not_end_the_search(tmp_path):
    for name in ("a_0000.png", "a_0001.png"):
        (tmp_path / name).write_bytes(b"no image")
    assert names(tmp_path, 2) == {"a": ["a_0000.png", "a_0001.png"]}


def test_numbered_files_are_channels_where_they_are_as_many_as_the_segmenter_takes(tmp_path):
    save_all(tmp_path, **dict.fromkeys(("a_0000", "a_0001", "b_0000", "c"), noise(4, 4)))
    own = {name: [f"{name}.png"] for name in ("b_0000", "c")}
    assert names(tmp_path, 2) == {"a": ["a_0000.png", "a_0001.png"], **own}
    alone = {f"a_000{n}": [f"a_000{n}.png"] for n in (0, 1)}
    assert names(tmp_path, 1) == names(tmp_path, 3) == alone | own


def test_numbered_photos_are_no_channels_of_each_other(tmp_path):
    photos = [f"img_{number:04d}" for number in range(3)]
    save_all(tmp_path, **dict.fromkeys(photos, noise(20, 20, 3)))
    assert sorted(names(tmp_path, 3)) == photos


def test_files_of_one_stem_keep_their_suffix_and_what_is_no_image_is_passed_over(tmp_path):
    for name in ("a.png", "a.TIF", ".a.png", "a.txt", "v.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert names(tmp_path, 1) == {"a.TIF": ["a.TIF"], "a.png": ["a.png"], "v": ["v.nii.gz"]}


def test_a_source_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with misses(r"no image in .*; expected files that end in .jp"):
        find_cases([tmp_path], channels=1, output=tmp_path)
    with misses(r"no file or folder '.*/gone'\."):
        find_cases([tmp_path / "gone"], channels=1, output=tmp_path)


def test_the_picture_of_a_split_has_cases_from_all_of_it(write_set, tmp_path, monkeypatch):
    """Of a volume the slice with most in the prediction; its Dice is by hand."""
    drawn = Mock()
    monkeypatch.setattr("tasks.segmentation.scores.predict.prediction_grid", drawn)
    image, truth = np.zeros((2, 3, 8, 8), np.uint8)
    image[1, :4], truth[1, :2] = 255, 1
    split = write_set([(image[None], truth)] * 5)
    made = Made(lambda x: [0.5 - x[:, 0], x[:, 0] - 0.5])
    model = TrainedSegmenter(network=made, card=made_card(split.classes))
    draw_predictions(model, split, tmp_path / "p.png", count=2)
    (samples,) = drawn.call_args.args
    assert [sample.name for sample in samples] == ["case0, slice 1", "case2, slice 1"]
    assert samples[0].dice == pytest.approx(2 * 16 / (16 + 32))
    assert (samples[0].prediction.sum(), samples[0].truth.sum()) == (32, 16)


@pytest.mark.parametrize(
    ("channels", "stored", "note"), [(3, "L", "gray, read as RGB"), (1, "RGB", "RGB, read as gray")]
)
def test_gray_and_rgb_stand_in_for_each_other(tmp_path, predict, mask, channels, stored, note):
    image = noise(40, 40)
    Image.fromarray(image).convert(stored).save(tmp_path / "a.png")
    (line,) = predict(segmenter=levels(channels - 1), channels=channels, gray_or_rgb=True)
    assert line.endswith(f"; {note}")
    np.testing.assert_array_equal(mask("a.png"), expected(image))


@pytest.mark.parametrize(
    ("shape", "channels", "gray_or_rgb", "message"),
    [
        ((40, 40, 3), 1, True, r"a\.png has 3 channels that differ in 1 files, but the"),
        # A checkpoint that does not say: its three channels may be three stains.
        ((40, 40), 3, False, "has 1 channels in 1 files, but the segmenter was trai"),
    ],
)
def test_other_channels_are_refused(tmp_path, predict, shape, channels, gray_or_rgb, message):
    save(tmp_path / "a.png", noise(*shape))
    with refuses(message):
        predict(channels=channels, gray_or_rgb=gray_or_rgb)
