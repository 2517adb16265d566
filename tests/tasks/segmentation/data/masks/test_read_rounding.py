"""Whole numbers in floating-point masks, and why others are none; nibabel writes the files."""

import nibabel as nib
import numpy as np
import pytest

from tasks.common.report.advice import without_training
from tasks.segmentation.data.case_properties import mask_notes
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.check import check_cases
from tasks.segmentation.data.masks.read import read_mask, whole_numbers
from tasks.segmentation.scores.evaluate import evaluate_masks
from tests.tasks.segmentation.conftest import refuses, save, set_of

TABLE = class_table({0: "background", 1: "cell", 2: "wall"})
NEAR = "were within 0.01 of whole numbers, and rounded"


def volume(path, values, *, stored=np.float32):
    """Write a row of numbers, which nibabel scales if they do not fit the type."""
    path.parent.mkdir(exist_ok=True)
    image = nib.Nifti1Image(np.array(values, np.float64).reshape(1, 1, -1), np.eye(4))
    image.set_data_dtype(stored)
    image.to_filename(path)
    return path


def scaled(path, values, *, slope, inter):
    """Write a row of bytes as they are, with a scale in the header."""
    image = nib.Nifti1Image(np.array(values, np.uint8).reshape(1, 1, -1), np.eye(4))
    content = bytearray(image.to_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(content)
    return path


def labels(path):
    return read_mask([path], TABLE, axis=2)[0].ravel().tolist()


def test_numbers_that_are_nearly_whole_are_rounded(tmp_path):
    values = [0, 0.004, 1.0000153, 0.996, 2.0099, -0.0, 2]
    flat = save(tmp_path / "a.tif", np.array([values], np.float32))
    assert labels(flat) == labels(volume(tmp_path / "a.nii", values)) == [0, 0, 1, 1, 2, 0, 2]


@pytest.mark.parametrize("stored", [np.uint8, np.int16])
def test_what_nibabel_scales_comes_back(tmp_path, stored):
    path = volume(tmp_path / "a.nii.gz", [0, 1, 1.7, 2, 0.3], stored=stored)
    assert nib.load(path).dataobj.slope != 1
    with refuses(r"such as 1\.7\d* .*Its header scales what is stored by "):
        labels(path)
    assert labels(volume(tmp_path / "b.nii.gz", [0, 1, 1.999, 2], stored=stored)) == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("slope", "top"), [(0.00392157, 255), (0.00784314, 128), (1.0000153, 1), (0, 1), (np.nan, 1)]
)
def test_a_scale_in_the_header_gives_classes_and_0_or_nan_is_none(tmp_path, slope, top):
    assert labels(scaled(tmp_path / "a.nii", [0, top], slope=slope, inter=0)) == [0, 1]


def test_a_scale_that_gives_no_whole_numbers_is_named(tmp_path):
    scale = r"scales what is stored by 0\.5 and adds 0\.25 \(scl_slope, scl_inter\): .*1 and 0"
    with refuses(rf"a\.nii .* such as 0\.25 \(3 pixels\).*{scale}"):
        labels(scaled(tmp_path / "a.nii", [0, 1, 2], slope=0.5, inter=0.25))


def test_probabilities_are_told(tmp_path):
    path = volume(tmp_path / "a.nii", [0.0, 0.37, 0.99, 1])
    with refuses(r"0\.37 \(1 pix.*probabilities\? data\.threshold=0\.5 ma"):
        labels(path)
    with without_training(), refuses(r"probabilities\? Cut them at 0\.5"):
        labels(path)
    with refuses(r"1\.37 .*resampled or scaled\? Resample masks by"):
        labels(volume(tmp_path / "b.nii", [0.0, 1.37, 2]))


@pytest.mark.parametrize(
    ("value", "stored", "message"),
    [
        (1.0101, np.float32, r"not whole, such as 1\.0101 \(1 pixels\)"),  # with enough digits
        (1.5, np.float32, r"not whole, such as 1\.5 "),
        (0.98999, np.float32, r"such as 0\.98999 "),
        (np.nan, np.float32, r"not finite, such as nan \(1 pixels\).* by 0\."),
        (np.inf, np.float32, "not finite, such as inf "),
        (1e300, np.float64, r"not finite, such as inf \(1 pixels\)"),
        (1e20, np.float32, r"values such as 1e\+20 \(1 pixels\); expected 32 bits"),
        (2.0**31, np.float32, r"values such as 2\.1.*e\+09 \(1 pixels\); expected 32 bits"),
        (-3e9, np.float32, r"values such as -3e\+09 \(1 pixels\); expected 32 bits"),
    ],
)
def test_other_numbers_of_volumes_are_refused(tmp_path, value, stored, message):
    with refuses(message):
        labels(volume(tmp_path / "a.nii", [0, 1, value], stored=stored))


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (2**63 + 5, np.uint64, "up to 9223372036854775813"),
        (-(2**40), np.int64, "down to -1099511627776"),
    ],
)
def test_whole_numbers_beyond_32_bits_are_refused(tmp_path, value, dtype, said):
    with refuses(rf"a\.tif has numbers {said}; expected"):
        labels(save(tmp_path / "a.tif", np.array([[0, value]], dtype)))


def test_what_is_whole_or_minus_0_is_not_counted(tmp_path):
    values = np.array([0.0, -0.0, 2.0, 65535.0, 65534.996, 2.0**31 - 1], np.float64)
    whole, count = whole_numbers(values, tmp_path / "a.nii")
    expected = [0, 0, 2, 65535, 65535, 2**31 - 1]
    assert (whole.dtype, whole.tolist(), count) == (np.int64, expected, 1)
    assert not np.signbit(whole.astype(float)).any()


def test_the_pixels_are_counted_over_the_set(tmp_path):
    files = {}
    for number, values in enumerate(([0, 1, 2, 2], [0, 1.0000153, 2, 0.996])):
        mask = volume(tmp_path / "masks" / f"{number}.nii", values)
        image = volume(tmp_path / "images" / f"{number}.nii", [number, 1, 2, 3])
        files[str(number)] = (image,), (mask,)
    (said,) = mask_notes(check_cases(set_of(files, TABLE), policy="error"))
    assert said == f"2 mask pixels of 1 cases, such as 1, {NEAR}"


def test_scores_are_those_of_the_rounded_masks(tmp_path):
    volume(tmp_path / "truth" / "a.nii", [0, 1, 2, 2])
    volume(tmp_path / "found" / "a.nii", [0, 1.0000153, 2, 1.996])
    scores, *_, notes = evaluate_masks(tmp_path / "found", tmp_path / "truth", tolerance=1)
    assert [scores["a"][name]["dice"] for name in ("class 1", "class 2")] == [1, 1]
    assert notes == [f"results: 2 mask pixels of 1 cases, such as a, {NEAR}"]
