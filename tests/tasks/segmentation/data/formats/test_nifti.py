"""NIfTI volumes, read and written, against nibabel and places found by hand."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.formats.files import read_image, write_mask
from tests.tasks.segmentation.conftest import refuses
from tests.tasks.segmentation.data.conftest import noise

VALUES = np.array((0, 1, 7, 300), np.uint16)
TABLE = class_table({value: f"class {value}" for value in VALUES.tolist()})
ZOOMS = (0.5, 0.8, 3.0)  # along right, anterior and superior
ORDERS = {0: (0, 1, 2), 1: (1, 0, 2), 2: (2, 0, 1), -1: (2, 0, 1)}  # of slices, rows and columns
CODES = ["".join(letters) for letters in itertools.product("RL", "AP", "SI")]
CODES += ["PSR", "ILA", "SPL", "SPR", "ARI", "RSA", "ASL"]


def oblique(code, shape):
    """Return an affine of an orientation, which is turned a little about the third axis."""
    c, s = np.cos(0.2), np.sin(0.2)
    ras = np.eye(4)
    ras[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(ZOOMS)
    ras[:3, 3] = -12.5, 4, 900
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    return ras @ inv_ornt_aff(turn, (*shape, 1)[:3])


@pytest.fixture
def volume(tmp_path):
    def write(name, values, *, affine=None, code=None, kind=nib.Nifti1Image, unit="mm", slope=None):
        affine = oblique(code, values.shape) if code else affine
        affine = np.diag([*ZOOMS, 1.0]) if affine is None else affine
        image = kind(values, dtype=values.dtype, affine=affine)
        image.header.set_xyzt_units(unit)
        image.set_qform(image.affine, code=1)
        image.set_sform(image.affine, code=4)
        if slope:
            image.header.set_data_dtype(np.uint8)
            image.header.set_slope_inter(*slope)
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
            for text in ("descrip", "aux_file", "db_name", "intent_name"):
                image.header[text] = b"Doe, Jane"
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


def labels_of(image):
    """Return the labels of an image that has the numbers of the classes."""
    return np.searchsorted(VALUES, image[0]).astype(np.uint8)


@pytest.mark.parametrize("code", CODES)
def test_a_volume_is_turned_as_nibabel_turns_it_and_its_mask_back(volume, tmp_path, code):
    values = np.random.default_rng(0).choice(VALUES, (3, 4, 5))
    source = volume("a.nii", values, code=code, unit="micron")
    before = nib.load(source)
    assert "".join(nib.aff2axcodes(before.affine)) == code
    canonical = nib.as_closest_canonical(before)
    zooms = canonical.header.get_zooms()

    for axis, order in ORDERS.items():
        image, geometry = read_image([source], axis=axis)
        [path] = write_mask(labels_of(image), TABLE, geometry, folder=tmp_path / "out", name="m")

        np.testing.assert_array_equal(image[0], np.asarray(canonical.dataobj).transpose(order))
        assert image.dtype == np.uint16
        assert geometry.spacing == pytest.approx([zooms[i] / 1000 for i in order], rel=1e-6)
        assert (geometry.unit, geometry.axis) == ("mm", order[0])
        after = nib.load(path)
        assert path.name == "m.nii"
        np.testing.assert_array_equal(np.asarray(after.dataobj), values)
        np.testing.assert_array_equal(after.affine, before.affine)
        assert after.header.get_zooms() == before.header.get_zooms()
        assert after.header.get_xyzt_units()[0] == "micron"
        for form in ("get_qform", "get_sform"):
            (ours, code_), (theirs, same) = (getattr(i, form)(coded=True) for i in (after, before))
            assert code_ == same
            np.testing.assert_array_equal(ours, theirs)
        assert after.get_data_dtype() == np.uint16


def test_one_marked_voxel_lands_where_the_hand_puts_it(volume):
    # Axes of the file: posterior (4), superior (5), right (3); steps 0.8, 3 and 0.5 mm.
    stored = np.zeros((4, 5, 3), dtype=np.uint8)
    stored[0, 4, 1] = 7  # the most anterior, the highest, the middle from left to right
    affine = np.array([[0, 0, 0.5, -9], [-0.8, 0, 0, 40], [0, 3.0, 0, 6], [0, 0, 0, 1]])
    pixels, geometry = read_image([volume("a.nii", stored, affine=affine)], axis=-1)
    # Slices upwards, rows to the right, columns to the front.
    assert pixels.shape == (1, 5, 3, 4)
    assert np.argwhere(pixels[0]).tolist() == [[4, 1, 3]]
    assert geometry.spacing == pytest.approx((3.0, 0.5, 0.8))


@pytest.mark.parametrize(
    ("zooms", "shape", "axis"),
    [
        ((3, 1, 1), (4, 5, 6), 0),
        ((1, 3, 2), (4, 5, 6), 1),
        ((1, 1, 1), (4, 5, 6), 2),  # the last among equals
        ((1.005, 1, 1), (4, 5, 6), 2),  # which differ by less than one in a hundred
        ((1, 1, 3), (4, 1, 6), 1),  # one slice
        ((1, 1, 3), (1, 1, 6), 2),  # a line has no slice
    ],
)
def test_slices_lie_along_the_largest_spacing(volume, zooms, shape, axis):
    path = volume("a.nii", noise(*shape), affine=np.diag([*zooms, 1.0]))
    assert read_image([path], axis=-1)[1].axis == axis


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("micron", 0.001)])
def test_spacing_is_in_millimetres(volume, unit, factor):
    _, geometry = read_image([volume("a.nii", noise(3, 4, 5), unit=unit)], axis=0)
    assert geometry.spacing == pytest.approx([zoom * factor for zoom in ZOOMS], rel=1e-6)


def test_a_scaled_volume_becomes_float32(tmp_path):
    image = nib.Nifti1Image(np.array([0, 100, 250], np.uint8).reshape(3, 1, 1), np.eye(4))
    content = bytearray(image.to_bytes())
    # The slope and what is added: nibabel would scale what it writes, so that it comes back.
    content[112:120] = np.array([2.0, -100.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    pixels, _ = read_image([tmp_path / "a.nii"], axis=2)
    assert pixels.dtype == np.float32
    assert pixels.ravel().tolist() == [-100, 100, 400]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        *(("int8", "int16"), ("int16", "int16"), ("uint16", "uint16")),
        *(("uint32", "int32"), ("int64", "int32"), ("float64", "float32")),
    ],
)
def test_numbers_of_other_types_keep_their_values(volume, stored, expected):
    values = noise(3, 4, 5, dtype=stored, high=100)
    pixels, _ = read_image([volume("a.nii", values, kind=nib.Nifti2Image)], axis=0)
    assert pixels.dtype == expected
    np.testing.assert_array_equal(pixels[0], values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 2, 2), 2**31, np.uint32), "numbers up to 2147483648; expected 32 bits"),
        (noise(2, 2, 2, 3, 2), r".*\(2, 2, 2, 3, 2\).*; expected 2 or 3 axes, or"),
        (np.ones((2, 2, 2)) * 1j, ".*complex.*; expected 2 or 3 axes, or"),
    ],
)
def test_large_and_complex_numbers_and_two_axes_beside_space_are_refused(volume, values, message):
    with refuses(rf"a\.nii has {message}"):
        read_image([volume("a.nii", values)], axis=0)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1,), 1), ((1, 1), 1), ((1, 3), 3), ((3, 1), 3), ((1, 1, 1), 1), ((1, 1, 3, 1), 3)],
)
def test_axes_of_size_1_beside_space_are_no_channels(volume, shape, channels):
    """NIfTI has time in the fourth axis and vectors in the fifth, as ITK writes them."""
    values = noise(4, 5, 6, *shape)
    image, _ = read_image([volume("a.nii", values)], axis=2)
    assert np.array_equal(image, values.reshape(4, 5, 6, channels).transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        *(([number, 0, 0, 0], [0, 1, 0, 0]) for number in (np.nan, np.inf, 0)),
        ([1, 1, 0, 0], [0, 0, 0, 0]),  # parallel axes
    ],
)
def test_an_affine_without_a_place_is_refused(tmp_path, x, y):
    header = nib.Nifti1Image(noise(3, 4, 5), np.eye(4)).header
    header["srow_x"], header["srow_y"], header["sform_code"] = x, y, 2
    (tmp_path / "a.nii").write_bytes(header.binaryblock + b"\0" * 4 + bytes(60))
    with refuses(r"a\.nii has the affine .*does not say where its voxels.*Repair its header"):
        read_image([tmp_path / "a.nii"], axis=-1)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_compressed_volume_keeps_its_kind_and_is_the_same_each_time(volume, tmp_path, kind):
    values = np.random.default_rng(0).choice(VALUES[:3], (3, 4, 5)).astype(np.uint8)
    image, geometry = read_image([volume("a.nii.gz", values, kind=kind)], axis=-1)
    path, again = (
        write_mask(labels_of(image), TABLE, geometry, folder=tmp_path / "out", name=name)[0]
        for name in ("p1/scan.2", "again")
    )
    assert path == tmp_path / "out" / "p1" / "scan.2.nii.gz"
    assert path.read_bytes() == again.read_bytes()
    after = nib.load(path)
    assert (type(after), after.get_data_dtype()) == (kind, np.uint8)
    np.testing.assert_array_equal(np.asarray(after.dataobj), values)


def test_the_scale_window_and_comments_of_the_image_are_not_those_of_the_mask(volume, tmp_path):
    source = volume("a.nii", np.linspace(-9, 9, 60).reshape(3, 4, 5), slope=(2, -9))
    with source.open("r+b") as file:  # cal_max, cal_min
        file.seek(124)
        file.write(np.array([400, -160], "<f4").tobytes())
    image, geometry = read_image([source], axis=2)
    assert nib.load(source).dataobj.slope != 1
    assert source.read_bytes().count(b"Jane") == 5
    labels = (image[0] > 0).astype(np.uint8) * 2

    [path] = write_mask(labels, TABLE, geometry, folder=tmp_path, name="m")

    after = nib.load(path)
    assert (after.dataobj.slope, after.dataobj.inter) == (1, 0)
    assert (after.header["cal_min"], after.header["cal_max"]) == (0, 0)
    expected = np.where(np.asarray(nib.load(source).dataobj) > 0, 7, 0)
    np.testing.assert_array_equal(np.asarray(after.dataobj), expected)
    assert after.get_data_dtype() == np.uint8
    assert b"Jane" not in path.read_bytes()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3, 2)])
def test_a_volume_of_other_axes_is_one_slice_or_has_channels(volume, tmp_path, shape):
    values = np.random.default_rng(0).choice(VALUES, shape)
    source = volume("a.nii.gz", values, code="LPS")
    image, geometry = read_image([source], axis=-1)
    [path] = write_mask(labels_of(image), TABLE, geometry, folder=tmp_path, name="m")
    turned = values[::-1, ::-1].reshape(4, 5, *(shape[2:] or (1, 1)))  # to the right and the front
    np.testing.assert_array_equal(image, turned.transpose(3, 2, 0, 1))
    assert geometry.spacing == pytest.approx((3, 0.5, 0.8))
    after, expected = nib.load(path), values[..., 0] if len(shape) == 4 else values
    np.testing.assert_array_equal(np.asarray(after.dataobj), expected)
    np.testing.assert_array_equal(after.affine, nib.load(source).affine)
    assert after.header.get_zooms() == nib.load(source).header.get_zooms()[: expected.ndim]
