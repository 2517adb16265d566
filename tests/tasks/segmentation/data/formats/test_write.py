"""Masks on disk in the geometry of their images, read back with nibabel and Pillow."""

import itertools

import cv2
import nibabel as nib
import numpy as np
import pytest
import tifffile
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.data.formats.files import read_image, write_mask
from tasks.segmentation.data.masks.read import read_mask

TABLE = class_table({0: "background", 1: "liver", 7: "vessel", 255: "tumour"})
LARGE = class_table({0: "background", 300: "liver"})
REGIONS = ClassTable(names=("whole", "left/core"), values=((1, 2), (2,)), exclusive=False)
CODES = ["".join(letters) for letters in itertools.product("RL", "AP", "SI")]
CODES += ["PSR", "ILA", "SPL", "ARI", "RSA"]


def mask_of(*shape, values=(0, 1, 7, 255)):
    return np.random.default_rng(0).choice(np.array(values, np.uint8), shape)


def affine_of(code, shape):
    """Return an oblique affine of an orientation with zooms of 0.5, 0.8 and 3 mm."""
    c, s = np.cos(0.2), np.sin(0.2)
    ras = np.eye(4)
    ras[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([0.5, 0.8, 3])
    ras[:3, 3] = -12.5, 4, 900
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    return ras @ inv_ornt_aff(turn, shape)


def save_volume(path, values, code="RAS", *, unit="mm", slope=None):
    image = nib.Nifti1Image(values, affine_of(code, (*values.shape, 1)[:3]))
    image.header.set_xyzt_units(unit)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=4)
    if slope:
        image.header.set_data_dtype(np.uint8)
        image.header.set_slope_inter(*slope)
    nib.save(image, path)
    return path


def save_pages(path, *pages, **options):
    first, *others = [Image.fromarray(page) for page in pages]
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(path, **more, **options)
    return path


def copied(source, folder, table=TABLE, *, axis=-1, name="copy"):
    """Read a file as a mask, and write what was read in the geometry of the file as an image."""
    labels, _ = read_mask([source], table, axis=axis)
    _, geometry = read_image([source], axis=axis)
    return write_mask(labels, table, geometry, folder=folder, name=name)


def pages_of(path):
    with Image.open(path) as picture:
        pages = []
        for number in range(picture.n_frames if picture.format == "TIFF" else 1):
            picture.seek(number)
            pages.append(np.array(picture))
    return pages


@pytest.mark.parametrize("code", CODES)
def test_a_volume_comes_back_as_it_was_for_every_axis(tmp_path, code):
    values = mask_of(3, 4, 5)
    source = save_volume(tmp_path / "a.nii", values, code, unit="micron")
    before = nib.load(source)
    assert "".join(nib.aff2axcodes(before.affine)) == code

    for axis in (0, 1, 2, -1):
        [path] = copied(source, tmp_path / "out", axis=axis)

        after = nib.load(path)
        assert path.name == "copy.nii"
        np.testing.assert_array_equal(np.asarray(after.dataobj), values)
        np.testing.assert_array_equal(after.affine, before.affine)
        assert after.header.get_zooms() == before.header.get_zooms()
        assert after.header.get_xyzt_units()[0] == "micron"
        for form in ("get_qform", "get_sform"):
            (ours, code_), (theirs, same) = (getattr(i, form)(coded=True) for i in (after, before))
            assert code_ == same
            np.testing.assert_array_equal(ours, theirs)
        assert after.get_data_dtype() == np.uint8


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_compressed_volume_stays_one_of_its_kind_and_is_the_same_each_time(tmp_path, kind):
    source = tmp_path / "a.nii.gz"
    nib.save(kind(mask_of(3, 4, 5), np.eye(4)), source)

    [path] = copied(source, tmp_path / "out")

    assert path.name == "copy.nii.gz"
    assert type(nib.load(path)) is kind
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), mask_of(3, 4, 5))
    [again] = copied(source, tmp_path / "out", name="again")
    assert path.read_bytes() == again.read_bytes()


def test_the_scale_and_window_of_the_image_are_not_those_of_the_mask(tmp_path):
    source = save_volume(tmp_path / "a.nii", np.linspace(-9, 9, 60).reshape(3, 4, 5), slope=(2, -9))
    with source.open("r+b") as file:  # cal_max, cal_min
        file.seek(124)
        file.write(np.array([400, -160], "<f4").tobytes())
    image, geometry = read_image([source], axis=2)
    assert nib.load(source).dataobj.slope != 1
    labels = (image[0] > 0).astype(np.uint8) * 3

    [path] = write_mask(labels, TABLE, geometry, folder=tmp_path, name="m")

    after = nib.load(path)
    assert (after.dataobj.slope, after.dataobj.inter) == (1, 0)
    assert (after.header["cal_min"], after.header["cal_max"]) == (0, 0)
    expected = np.where(np.asarray(nib.load(source).dataobj) > 0, 255, 0)
    np.testing.assert_array_equal(np.asarray(after.dataobj), expected)
    assert after.get_data_dtype() == np.uint8


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3, 2)])
def test_the_mask_of_a_volume_of_other_axes_has_its_places(tmp_path, shape):
    values = mask_of(*shape)
    source = save_volume(tmp_path / "a.nii.gz", values, "LPS")
    image, geometry = read_image([source], axis=-1)
    labels = np.searchsorted((0, 1, 7, 255), image[0]).astype(np.uint8)

    [path] = write_mask(labels, TABLE, geometry, folder=tmp_path, name="m")

    after, expected = nib.load(path), values[..., 0] if len(shape) == 4 else values
    np.testing.assert_array_equal(np.asarray(after.dataobj), expected)
    np.testing.assert_array_equal(after.affine, nib.load(source).affine)
    assert after.header.get_zooms() == nib.load(source).header.get_zooms()[: expected.ndim]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "A.PNG"])
def test_a_lossless_file_keeps_its_type(tmp_path, name):
    source = save_pages(tmp_path / name, mask_of(4, 5))

    [path] = copied(source, tmp_path / "out")

    assert path.suffix == source.suffix.lower()
    with Image.open(path) as ours, Image.open(source) as theirs:
        assert ours.format == theirs.format
    np.testing.assert_array_equal(pages_of(path), [mask_of(4, 5)])


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_a_lossy_file_becomes_png(tmp_path, name):
    source = save_pages(tmp_path / name, np.zeros((4, 5, 3), np.uint8))
    _, geometry = read_image([source], axis=-1)
    labels = np.full((1, 4, 5), 2, np.uint8)

    [path] = write_mask(labels, TABLE, geometry, folder=tmp_path, name="m")

    assert path == tmp_path / "m.png"
    assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == 7).all()


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.png", "m.png"), ("a.tif", "m.tif"), ("a.bmp", "m.png"), ("a.nii", "m.nii")],
)
def test_values_above_255_are_written_with_16_bits(tmp_path, name, written):
    if name == "a.nii":
        source = save_volume(tmp_path / name, mask_of(1, 1, 2))
    else:
        source = save_pages(tmp_path / name, np.zeros((1, 2), np.uint8))
    _, geometry = read_image([source], axis=0)

    [path] = write_mask(np.array([[[0, 1]]], np.uint8), LARGE, geometry, folder=tmp_path, name="m")

    assert path.name == written
    volume = name == "a.nii"
    found = np.asarray(nib.load(path).dataobj) if volume else pages_of(path)[0]
    assert (found.dtype, found.ravel().tolist()) == (np.uint16, [0, 300])


def test_the_pages_of_a_tiff_file_come_back_with_their_resolution(tmp_path):
    pages = mask_of(3, 4, 5)
    source = save_pages(tmp_path / "a.tif", *pages, resolution=4000, resolution_unit="cm")

    [path] = copied(source, tmp_path / "out")

    np.testing.assert_array_equal(pages_of(path), pages)
    with Image.open(path) as picture:
        assert [float(picture.tag_v2[tag]) for tag in (282, 283)] == [4000, 4000]
        assert picture.tag_v2[296] == 3


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_the_resolution_of_every_kind_of_tiff_comes_back(tmp_path, byteorder, bigtiff):
    mask, options = mask_of(4, 5), {"byteorder": byteorder, "bigtiff": bigtiff}
    resolution = {"resolution": (300.5, 200), "resolutionunit": "inch"}
    tifffile.imwrite(tmp_path / "a.tif", mask, **options, **resolution)

    [path] = copied(tmp_path / "a.tif", tmp_path / "out")

    np.testing.assert_array_equal(pages_of(path)[0], mask)
    with Image.open(path) as picture:
        assert [float(picture.tag_v2[tag]) for tag in (282, 283)] == pytest.approx([300.5, 200])
        assert picture.tag_v2[296] == 2


def test_a_tiff_file_without_a_resolution_gets_none(tmp_path):
    [path] = copied(save_pages(tmp_path / "a.tif", mask_of(4, 5)), tmp_path / "out")

    with Image.open(path) as picture:
        assert 282 not in picture.tag_v2


@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("way", [3, 6, 8])
def test_a_mask_lies_as_its_turned_image_does(tmp_path, name, way, exif):
    notes = Image.Exif()
    notes[274] = way
    kind = {"tiffinfo": {274: way}} if name == "a.tif" else {"exif": notes}
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[0, :2] = 255  # the object, in the stored pixels
    Image.fromarray(picture).save(tmp_path / name, **kind)
    image, geometry = read_image([tmp_path / name], axis=-1, exif=exif)

    labels = (image[0] > 127).astype(np.uint8)
    [path] = write_mask(labels, LARGE, geometry, folder=tmp_path / "out", name="m")

    if name == "a.tif":  # Pillow turns these while it loads them
        with tifffile.TiffFile(path) as source:
            stored, noted = source.pages[0].asarray(), source.pages[0].tags["Orientation"].value
    else:
        with Image.open(path) as mask:
            stored, noted = np.asarray(mask), mask.getexif()[274]
    assert noted == way
    np.testing.assert_array_equal(stored == 300, picture[..., 0] > 127)
    again, _ = read_image([path], axis=-1, exif=exif)
    np.testing.assert_array_equal(again[0] == 300, labels == 1)


def test_classes_that_overlap_have_files_of_their_own(tmp_path):
    source = save_pages(tmp_path / "a.png", np.array([[0, 1, 2]], np.uint8))

    paths = copied(source, tmp_path, REGIONS)

    # The slash in the name of a class makes no folder.
    assert paths == [tmp_path / "copy_whole.png", tmp_path / "copy_left-core.png"]
    assert [pages_of(path)[0].tolist() for path in paths] == [[[0, 1, 1]], [[0, 0, 1]]]


def test_a_name_with_folders_and_dots_makes_them(tmp_path):
    source = save_volume(tmp_path / "a.nii.gz", mask_of(3, 4, 5))

    [path] = copied(source, tmp_path / "out", name="p1/scan.2")

    assert path == tmp_path / "out" / "p1" / "scan.2.nii.gz"
    assert path.is_file()


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("a.nii.gz", "pathlib.Path.write_bytes"),
        ("a.png", "PIL.Image.Image.save"),
        ("a.tif", "PIL.Image.Image.save"),
    ],
)
def test_a_full_disk_leaves_the_old_mask_and_nothing_else(tmp_path, monkeypatch, name, broken):
    if ".nii" in name:
        source = save_volume(tmp_path / name, mask_of(3, 4, 5))
    else:
        source = save_pages(tmp_path / name, mask_of(4, 5))
    [path] = copied(source, tmp_path / "out")
    before = path.read_bytes()

    def half(self, target, *_, **__):
        with open(target if ".nii" not in name else self, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(broken, half)
    for again in ("copy", "new"):
        with pytest.raises(OSError, match="No space left"):
            copied(source, tmp_path / "out", name=again)

    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_what_a_scanner_wrote_of_the_patient_stays_out_of_the_mask(tmp_path):
    values = mask_of(3, 4, 5)
    image = nib.Nifti1Image(values, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    nib.save(image, tmp_path / "a.nii")
    (written,) = copied(tmp_path / "a.nii", tmp_path / "out")
    assert b"Jane Doe" in (tmp_path / "a.nii").read_bytes()
    assert b"Jane Doe" not in written.read_bytes()
    assert np.array_equal(np.asanyarray(nib.load(written).dataobj), values)
