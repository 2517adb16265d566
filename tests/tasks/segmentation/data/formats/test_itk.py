"""NRRD and MetaImage files, against the same volumes as NIfTI and SimpleITK's own reading."""

import json
import sys

import numpy as np
import pytest

from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.formats.files import check_same_grid, read_image, write_mask
from tasks.segmentation.data.layouts.folder import folder_cases
from tasks.segmentation.data.layouts.nnunet import nnunet_cases
from tasks.segmentation.data.masks.read import read_mask
from tests.tasks.segmentation.conftest import refuses
from tests.tasks.segmentation.data.conftest import noise

sitk = pytest.importorskip("SimpleITK", reason="needs pip install 'keel-backbones[itk]'")

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
TABLE = class_table({0: "background", 1: "liver", 7: "lesion"})
TURN = [0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1]  # about the long axis of the patient
UPSIDE_DOWN = [0, 0, 1, 1, 0, 0, 0, -1, 0]


def labels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).choice([0, 1, 7], shape).astype(dtype)


def save(path, values, *, direction=(), vector=False, **options):
    """Write values (Z, Y, X) as SimpleITK does, with a place of their own."""
    image = sitk.GetImageFromArray(values, isVector=vector)
    image.SetSpacing((0.5, 0.75, 3.0, 1.0)[: image.GetDimension()])
    image.SetOrigin((10.25, -20.5, 30.125, 0.0)[: image.GetDimension()])
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path), **options)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("direction", [(), TURN, UPSIDE_DOWN])
@pytest.mark.parametrize("axis", [-1, 0])
def test_a_volume_reads_as_its_nifti_file_does(tmp_path, suffix, direction, axis):
    values = noise(4, 5, 6, dtype=np.int16, high=1400) - 500
    other = save(tmp_path / "a.nii.gz", values, direction=direction)
    path = save(tmp_path / f"a{suffix}", values, direction=direction, useCompression=True)
    (image, geometry), (expected, there) = (read_image([p], axis=axis) for p in (path, other))
    assert image.dtype == np.int16
    assert np.array_equal(image, expected)
    assert geometry.spacing == pytest.approx(there.spacing)
    assert (geometry.axis, geometry.unit, geometry.source) == (there.axis, "mm", path)
    check_same_grid(other, path, sizes=(image.shape, image.shape))


def test_one_marked_voxel_lands_where_the_hand_puts_it(tmp_path):
    values = np.zeros((4, 5, 6), np.uint8)  # z to superior, y to posterior, x to the left
    values[3, 0, 1] = 1
    image, geometry = read_image([save(tmp_path / "a.mha", values)], axis=2)
    assert np.argwhere(image[0]).tolist() == [[3, 4, 4]]  # slice, right, anterior: both turned
    assert geometry.spacing == (3, 0.5, 0.75)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_vectors_are_channels_and_a_flat_file_is_one_slice(tmp_path, suffix):
    values = np.arange(4 * 5 * 6 * 2, dtype=np.float32).reshape(4, 5, 6, 2)
    image, _ = read_image([save(tmp_path / f"a{suffix}", values, vector=True)], axis=2)
    assert image.shape == (2, 4, 6, 5)
    assert np.array_equal(image, values[:, ::-1, ::-1].transpose(3, 0, 2, 1))
    one = values[0].astype(np.uint8)
    flat, geometry = read_image([save(tmp_path / f"b{suffix}", one, vector=True)], axis=-1)
    assert np.array_equal(flat[:, 0], one[::-1, ::-1].transpose(2, 1, 0))
    assert (geometry.axis, geometry.spacing) == (2, (1, 0.5, 0.75))


def test_a_fourth_axis_holds_channels_and_complex_numbers_are_refused(tmp_path):
    values = np.arange(3 * 4 * 5 * 6, dtype=np.int16).reshape(3, 4, 5, 6)
    image, _ = read_image([save(tmp_path / "a.nrrd", values)], axis=2)
    assert np.array_equal(image, values[:, :, ::-1, ::-1].transpose(0, 1, 3, 2))
    with refuses(r"b\.nrrd .* expected 2 or 3 axes, .*of real numbers"):
        read_image([save(tmp_path / "b.nrrd", values[0].astype(np.complex64))], axis=2)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int64"])
def test_labels_may_be_of_any_type_of_whole_numbers(tmp_path, dtype):
    values = labels(4, 5, 6, dtype=dtype)
    found, _ = read_mask([save(tmp_path / "a.nrrd", values)], TABLE, axis=2)
    expected = values[:, ::-1, ::-1].transpose(0, 2, 1)
    assert np.array_equal(found, np.searchsorted([0, 1, 7], expected))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("direction", [TURN, UPSIDE_DOWN, ()])
def test_a_mask_is_written_in_the_type_and_at_the_place_of_its_image(tmp_path, suffix, direction):
    values = labels(4, 5, 6) if direction else labels(5, 6)
    image = sitk.ReadImage(str(save(tmp_path / "a.mha", values, direction=direction)))
    image.SetMetaData("PatientName", "Jane Doe")
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    found, geometry = read_mask([path], TABLE, axis=0)
    (written,) = write_mask(found, TABLE, geometry, folder=tmp_path / "out", name="p1/a")
    one_file = {".nhdr": ".nrrd", ".mhd": ".mha"}.get(suffix, suffix)
    assert written == tmp_path / "out" / "p1" / f"a{one_file}"
    assert [entry.name for entry in written.parent.iterdir()] == [written.name]
    again = sitk.ReadImage(str(written))
    assert np.array_equal(sitk.GetArrayFromImage(again), values)
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(again, what)() == getattr(image, what)()
    assert b"Jane Doe" not in written.read_bytes()


def test_the_mask_of_an_image_of_four_axes_has_three(tmp_path):
    path = save(tmp_path / "a.nrrd", np.zeros((2, 4, 5, 6), np.int16))
    image, geometry = read_image([path], axis=-1)
    assert image.shape == (2, 4, 6, 5)
    mask = np.ones((4, 6, 5), np.uint8)
    (written,) = write_mask(mask, TABLE, geometry, folder=tmp_path / "out", name="a")
    assert sitk.ReadImage(str(written)).GetSize() == (6, 5, 4)
    check_same_grid(path, written, sizes=((4, 6, 5), (4, 6, 5)))


def test_a_mask_at_another_place_is_refused(tmp_path):
    first = save(tmp_path / "a.nrrd", labels(4, 5, 6))
    other = save(tmp_path / "b.mha", labels(4, 5, 6), direction=TURN)
    with refuses(r"b\.mha lies elsewhere than .*a\.nrrd: its affine is"):
        check_same_grid(first, other, sizes=((4,), (4,)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_is_refused_by_its_name(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", noise(9, 9, 9))
    data = path if suffix in (".nrrd", ".mha") else tmp_path / "a.raw"
    message = rf"a\{suffix} cannot be decoded \(.+\); restore"
    data.write_bytes(data.read_bytes()[:-300])
    with refuses(message):
        read_image([path], axis=-1)
    data.unlink()
    path.touch()  # where it is the data
    with refuses(message):
        read_image([path], axis=-1)


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nrrd", labels(4, 5, 6))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with refuses(r"a\.nrrd is read with .* install 'keel-backbones\[itk\]"):
        read_image([path], axis=-1)


def test_folders_of_volumes_may_be_of_several_types(tmp_path):
    for folder, *names in (("images", "a.nrrd", "b.mhd"), ("masks", "a.nii.gz", "b.nrrd")):
        (tmp_path / folder).mkdir()
        for name in names:
            save(tmp_path / folder / name, labels(4, 5, 6))
    found = folder_cases(root=tmp_path, axis=-1)
    assert [case.name for case in found.cases] == ["a", "b"]
    assert found.classes.values == ((0,), (1,), (7,))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_nnunet_reads_the_ending_that_its_description_names(tmp_path, ending):
    for folder, *names in (("imagesTr", "a_0000", "a_0001"), ("labelsTr", "a")):
        (tmp_path / folder).mkdir()
        for name in names:
            save(tmp_path / folder / f"{name}{ending}", labels(4, 5, 6))
    description = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "liver": 1},
        "file_ending": ending,
        "numTraining": 1,
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    (case,) = nnunet_cases(root=tmp_path).cases
    assert read_image(case.images, axis=-1)[0].shape == (2, 4, 6, 5)
