"""Images and masks of every kind on disk, against Pillow, nibabel and places found by hand."""

import gzip
import re
import struct
import zlib

import cv2
import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.data.formats.files import check_same_grid, read_image
from tasks.segmentation.data.masks.read import mask_values, read_mask
from tests.tasks.segmentation.data.conftest import refuses

TABLE = class_table({0: "background", 1: "liver", 255: "vessel"})
NOTHING = ClassTable(names=(), values=())  # of how a mask is read it says nothing
ZOOMS = (0.5, 0.8, 3.0)  # along right, anterior and superior


def noise(*shape, dtype=np.uint8, high=256):
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.fixture
def save(tmp_path):
    def write(name, picture, **options):
        if isinstance(picture, np.ndarray):
            picture = Image.fromarray(picture)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.fixture
def volume(tmp_path):
    def write(name, values, *, affine=None, kind=nib.Nifti1Image, unit="mm"):
        image = kind(
            values, dtype=values.dtype, affine=np.diag([*ZOOMS, 1.0]) if affine is None else affine
        )
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


def gray_png(values, *, bits):
    """Return a PNG file of one row with few bits, which Pillow does not write."""
    row, packed = values[0], 0
    for value in row:
        packed = packed << bits | int(value)
    size = -(-len(row) * bits // 8)
    packed <<= size * 8 - len(row) * bits
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", len(row), 1, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" + packed.to_bytes(size, "big"))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def turned(ras, code):
    """Return a (right, anterior, superior) array as it is stored in an orientation, by hand."""
    axes = ["LPI".find(c) + "RAS".find(c) + 1 for c in code]
    stored, affine = ras.transpose(*axes, *range(3, ras.ndim)), np.eye(4)
    affine[:3, :3] = 0
    for position, (letter, axis) in enumerate(zip(code, axes, strict=True)):
        sign = 1 if letter in "RAS" else -1
        affine[axis, position] = sign * ZOOMS[axis]
        affine[axis, 3] = 0 if sign == 1 else (ras.shape[axis] - 1) * ZOOMS[axis]
        stored = stored if sign == 1 else np.flip(stored, position)
    return stored, affine


def test_gray_is_one_channel_and_colour_three(save):
    gray, colour = noise(4, 5), noise(4, 5, 3)

    pixels, geometry = read_image([save("a.png", gray)], axis=-1)
    np.testing.assert_array_equal(pixels, gray[None, None])
    assert pixels.dtype == np.uint8
    assert (geometry.spacing, geometry.unit, geometry.axis) == ((1, 1, 1), "px", None)

    for name in ("a.png", "a.bmp", "a.tif"):
        pixels, _ = read_image([save(name, colour)], axis=-1)
        np.testing.assert_array_equal(pixels, colour.transpose(2, 0, 1)[:, None])


def test_transparency_is_dropped(save):
    rgba, with_alpha = noise(4, 5, 4), noise(4, 5, 2)

    pixels, _ = read_image([save("a.png", rgba)], axis=-1)
    np.testing.assert_array_equal(pixels, rgba[..., :3].transpose(2, 0, 1)[:, None])
    pixels, _ = read_image([save("b.png", Image.fromarray(with_alpha, mode=None))], axis=-1)
    np.testing.assert_array_equal(pixels, with_alpha[None, None, ..., 0])


@pytest.mark.parametrize("options", [{}, {"transparency": bytes([0, 255])}])
def test_a_palette_is_colours_in_an_image_and_indices_in_a_mask(save, options):
    indices = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    path = save("a.png", picture, **options)

    pixels, _ = read_image([path], axis=-1)
    assert pixels[:, 0, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    labels, _ = read_mask([path], TABLE, axis=-1)
    np.testing.assert_array_equal(labels, indices[None])
    assert sorted(mask_values(path, NOTHING).counts) == [0, 1]


def test_two_levels_are_0_and_255(save):
    levels = np.array([[True, False], [False, True]])
    path = save("a.png", Image.fromarray(levels))
    with Image.open(path) as picture:
        assert picture.mode == "1"

    np.testing.assert_array_equal(read_image([path], axis=-1)[0][0, 0], levels * 255)
    np.testing.assert_array_equal(read_mask([path], TABLE, axis=-1)[0][0], levels * 2)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("a.png", np.uint16),
        ("a.tif", np.uint16),
        ("a.tif", np.int32),
        ("a.tif", np.float32),
    ],
)
def test_deep_numbers_stay_as_they_are(save, name, dtype):
    stored = noise(4, 5, dtype=dtype, high=60_000)

    pixels, _ = read_image([save(name, stored)], axis=-1)

    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels[0, 0], stored)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a.tif", noise(4, 5, dtype=np.int16, high=3000) - np.int16(1024)),
        ("a.tif", noise(4, 5, 3, dtype=np.uint16, high=60_000)),
        ("a.png", noise(4, 5, 3, dtype=np.uint16, high=60_000)),
    ],
)
def test_signed_numbers_and_colours_keep_16_bits(tmp_path, name, stored):
    cv2.imwrite(str(tmp_path / name), stored)  # colours are BGR

    pixels, _ = read_image([tmp_path / name], axis=-1)

    assert pixels.dtype == stored.dtype
    expected = np.atleast_3d(stored)[..., ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels[:, 0], expected)


def test_the_pages_of_a_tiff_file_are_slices(save):
    pages = noise(3, 4, 5)
    first, *others = [Image.fromarray(page) for page in pages]

    pixels, _ = read_image([save("a.tif", first, save_all=True, append_images=others)], axis=-1)

    np.testing.assert_array_equal(pixels, pages[None])


def test_pages_of_different_sizes_are_refused(save):
    first, other = Image.fromarray(noise(4, 5)), Image.fromarray(noise(4, 6))
    path = save("a.tif", first, save_all=True, append_images=[other])

    with refuses(r"a\.tif .*it has pages of different shapes, 4 x 5 and 4 x 6"):
        read_image([path], axis=-1)


def test_a_jpeg_is_what_pillow_reads_and_is_not_turned(save):
    exif = Image.Exif()
    exif[274] = 6
    path = save("a.jpg", noise(16, 24, 3), exif=exif)

    pixels, _ = read_image([path], axis=-1, exif="ignore")

    with Image.open(path) as picture:
        np.testing.assert_array_equal(pixels[:, 0], np.asarray(picture).transpose(2, 0, 1))


def test_of_a_jpeg_with_several_pictures_the_first_is_read(save):
    first, other = (Image.fromarray(np.full((16, 24, 3), n, np.uint8)) for n in (200, 10))
    path = save("a.jpg", first, format="MPO", save_all=True, append_images=[other])

    assert (read_image([path], axis=-1)[0] == 200).all()


def test_a_mask_is_turned_by_its_own_orientation(save):
    mask = np.array([[0, 1, 255], [255, 0, 0]], dtype=np.uint8)
    path = save("a.tif", mask, tiffinfo={274: 6})

    labels, geometry = read_mask([path], TABLE, axis=-1, exif="apply")

    assert labels.tolist() == [[[2, 0], [0, 1], [0, 2]]]  # by hand: a quarter clockwise
    assert (geometry.orientation, geometry.turned) == (6, True)
    with refuses(r"a\.tif is rotated by its EXIF orientation, 6"):
        read_mask([path], TABLE, axis=-1)
    assert sorted(mask_values(path, NOTHING).counts) == [0, 1, 255]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_a_mask_has_the_stored_numbers_where_the_smallest_is_white(tmp_path, dtype):
    stored = np.zeros((10, 10), dtype)
    stored[0] = 1  # a tenth is the class
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    one = 255 if dtype == "bool" else 1
    table = class_table({0: "background", one: "cell"})

    labels, _ = read_mask([tmp_path / "a.tif"], table, axis=-1)

    np.testing.assert_array_equal(labels[0], stored.astype(np.uint8))
    assert sorted(mask_values(tmp_path / "a.tif", NOTHING).counts) == [0, one]


def test_gray_of_two_bits_is_0_to_3_in_a_mask(tmp_path):
    mask = np.array([[0, 1, 2, 3]], np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(gray_png(mask, bits=2))

    assert sorted(mask_values(path, NOTHING).counts) == [0, 1, 2, 3]
    assert read_image([path], axis=-1)[0].ravel().tolist() == [0, 85, 170, 255]  # Pillow's


def test_a_mask_of_equal_channels_is_one_and_of_unequal_ones_is_refused(save):
    mask = np.array([[0, 1, 255], [255, 0, 0]], dtype=np.uint8)
    equal = np.stack([mask] * 3, axis=-1)

    labels, _ = read_mask([save("a.png", equal)], TABLE, axis=-1)
    assert labels.tolist() == [[[0, 1, 2], [2, 0, 0]]]

    equal[1, 2, 2] = 1  # one pixel, in blue only
    with refuses(r"b\.png has 3 channels that differ; .* Name them: "):
        read_mask([save("b.png", equal)], TABLE, axis=-1)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("code", ["RAS", "LPS", "PSR", "ILA", "ASL", "SPR"])
def test_a_volume_is_turned_to_the_same_place_from_every_orientation(volume, code, axis):
    ras = noise(3, 4, 5, dtype=np.int16)
    stored, affine = turned(ras, code)
    assert "".join(nib.aff2axcodes(affine)) == code

    pixels, geometry = read_image([volume("a.nii.gz", stored, affine=affine)], axis=axis)

    # Slices, rows and columns: the chosen axis, then the others as they come.
    order = {0: (0, 1, 2), 1: (1, 0, 2), 2: (2, 0, 1), -1: (2, 0, 1)}[axis]
    np.testing.assert_array_equal(pixels[0], ras.transpose(order))
    assert geometry.spacing == pytest.approx([ZOOMS[i] for i in order], rel=1e-6)
    assert (geometry.unit, geometry.axis) == ("mm", order[0])
    assert pixels.dtype == np.int16


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


def test_an_oblique_volume_is_turned_as_nibabel_turns_it(volume):
    c, s = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1]]) @ np.diag([0.7, 0.7, 4])
    path = volume("a.nii.gz", noise(4, 5, 3), affine=affine)

    pixels, geometry = read_image([path], axis=2)

    canonical = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(pixels[0], np.asarray(canonical.dataobj).transpose(2, 0, 1))
    zooms = canonical.header.get_zooms()
    assert geometry.spacing == pytest.approx([zooms[2], zooms[0], zooms[1]], rel=1e-6)


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
    image.header.set_data_dtype(np.uint8)
    image.header.set_slope_inter(2.0, -100.0)
    content = bytearray(image.to_bytes())
    # nibabel scales what it writes, so that the numbers come back; here they are as stored.
    content[352:] = bytes([0, 100, 250])
    content[112:120] = np.array([2.0, -100.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)

    pixels, _ = read_image([tmp_path / "a.nii"], axis=2)

    assert pixels.dtype == np.float32
    assert pixels.ravel().tolist() == [-100, 100, 400]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.int8, np.int16),
        (np.uint16, np.uint16),
        (np.uint32, np.int32),
        (np.int64, np.int32),
        (np.float64, np.float32),
    ],
)
def test_numbers_of_other_types_keep_their_values(volume, stored, expected):
    values = noise(3, 4, 5, dtype=stored, high=100)

    pixels, _ = read_image([volume("a.nii", values, kind=nib.Nifti2Image)], axis=0)

    assert pixels.dtype == expected
    np.testing.assert_array_equal(pixels[0], values)


def test_numbers_beyond_32_bits_are_refused(volume):
    values = np.full((2, 2, 2), 2**31, dtype=np.uint32)

    with refuses(r"a\.nii has numbers up to 2147483648; expected 32 bits"):
        read_image([volume("a.nii", values)], axis=0)


def test_the_fourth_axis_of_a_volume_holds_channels(volume):
    ras = noise(3, 4, 5, 2)
    stored, affine = turned(ras, "LPS")

    pixels, _ = read_image([volume("a.nii.gz", stored, affine=affine)], axis=1)

    assert pixels.shape == (2, 4, 3, 5)
    np.testing.assert_array_equal(pixels, ras.transpose(3, 1, 0, 2))


def test_a_flat_nifti_file_is_one_slice(volume):
    pixels, geometry = read_image([volume("a.nii", noise(4, 5))], axis=-1)

    np.testing.assert_array_equal(pixels, noise(4, 5)[None, None])
    assert geometry.spacing == pytest.approx((3, 0.5, 0.8))


def test_complex_numbers_and_two_axes_beside_space_are_refused(volume):
    for values, said in (
        (noise(2, 2, 2, 3, 2), r"\(2, 2, 2, 3, 2\)"),
        (np.ones((2, 2, 2)) * 1j, "complex"),
    ):
        with refuses(rf"a\.nii has .*{said}.*; expected 2 or 3 axes, or"):
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


def test_several_files_are_channels_in_their_order(volume, save):
    one, two = noise(3, 4, 5), noise(3, 4, 5, dtype=np.int16, high=900)
    paths = [volume("a_0000.nii.gz", one), volume("a_0001.nii.gz", two)]

    pixels, geometry = read_image(paths, axis=0)

    np.testing.assert_array_equal(pixels, np.stack([one, two]))
    assert (pixels.dtype, geometry.source) == (np.int16, paths[0])
    flat = [save("b_0000.png", noise(4, 5)), save("b_0001.png", noise(4, 5, 3))]
    assert read_image(flat, axis=-1)[0].shape == (4, 1, 4, 5)


def test_channels_of_different_size_or_place_are_refused_with_both_files(volume, save):
    shifted = np.diag([*ZOOMS, 1.0])
    shifted[0, 3] = 0.1
    path = volume("a.nii", noise(3, 4, 5))

    with refuses(r"b\.nii has the size 3 x 5 x 5, but .*a\.nii has 3 x 4"):
        read_image([path, volume("b.nii", noise(3, 5, 5))], axis=0)
    with refuses(r"b\.nii lies elsewhere than .*a\.nii: its affine is"):
        read_image([path, volume("b.nii", noise(3, 4, 5), affine=shifted)], axis=0)
    with refuses(r"c\.png is a flat image, but .*a\.nii is a volume"):
        check_same_grid(path, save("c.png", noise(4, 5)), sizes=((1, 4, 5), (1, 4, 5)))
    with refuses(r"size 1 x 5 x 4.*turned by an EXIF orientation\? See data"):
        read_image([save("c.png", noise(4, 5)), save("d.png", noise(5, 4))], axis=0)


def test_rounding_of_a_header_is_no_difference(volume):
    affine = np.diag([*ZOOMS, 1.0])
    affine[0, 3] = 1e-5
    paths = [volume("a.nii", noise(3, 4, 5)), volume("b.nii", noise(3, 4, 5), affine=affine)]

    assert read_image(paths, axis=0)[0].shape == (2, 3, 4, 5)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.nii.gz", "a.nii"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6])
def test_a_truncated_file_is_refused_by_its_name(save, volume, name, kept):
    path = volume(name, noise(9, 9, 9)) if ".nii" in name else save(name, noise(64, 64, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])

    reads = [lambda: read_image([path], axis=-1), lambda: read_mask([path], TABLE, axis=-1)]
    for read in reads[:1] if name.endswith(".jpg") else reads:  # which no mask may be
        with refuses(rf"(?s){re.escape(name)} cannot be decoded \(.*restore"):
            read()


def test_a_gzip_file_of_something_else_and_a_text_file_are_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"no volume" * 99))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"")[:10] + b"\xff" * 400)
    (tmp_path / "a.png").write_text("no image")
    for name in ("a.nii.gz", "b.nii.gz", "a.png"):
        with refuses(rf"{re.escape(name)} cannot be decoded"):
            read_image([tmp_path / name], axis=-1)


def test_a_missing_file_is_named_with_what_is_there(save, tmp_path):
    save("a.png", noise(4, 5))

    with pytest.raises(FileNotFoundError, match=r"b\.png' does not exist; .*holds 'a\.png'"):
        read_image([tmp_path / "b.png"], axis=-1)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([np.nan, 0, 0, 0], [0, 1, 0, 0]),
        ([np.inf, 0, 0, 0], [0, 1, 0, 0]),
        ([0, 0, 0, 0], [0, 1, 0, 0]),
        ([1, 1, 0, 0], [0, 0, 0, 0]),  # parallel axes
    ],
)
def test_an_affine_without_a_place_is_refused(tmp_path, x, y):
    header = nib.Nifti1Image(noise(3, 4, 5), np.eye(4)).header
    header["srow_x"], header["srow_y"], header["sform_code"] = x, y, 2
    (tmp_path / "a.nii").write_bytes(header.binaryblock + b"\0" * 4 + bytes(60))

    with refuses(r"a\.nii has the affine .*does not say where its voxels.*Repair its header"):
        read_image([tmp_path / "a.nii"], axis=-1)


def test_an_unknown_value_is_refused_and_an_ignored_one_left_out(save):
    path = save("a.png", np.array([[0, 1, 7], [7, 255, 0]], dtype=np.uint8))

    with refuses(r"a\.png has mask values .* 7 \(2 pixels\)"):
        read_mask([path], TABLE, axis=-1)

    table = class_table({0: "background", 1: "liver", 255: "vessel", 7: "ignore"})
    labels, _ = read_mask([path], table, axis=-1)
    assert labels.tolist() == [[[0, 1, IGNORE], [IGNORE, 2, 0]]]


def test_classes_with_files_of_their_own_are_all_but_0(save):
    table = ClassTable(names=("disc", "cup"), values=((1,), (1,)), exclusive=False)
    disc, cup = np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 9]], np.uint8)

    labels, _ = read_mask([save("d.png", disc), save("c.png", cup)], table, axis=-1)

    assert labels.tolist() == [[[[0, 1, 1]]], [[[0, 0, 1]]]]
    alone = ClassTable(names=("disc",), values=((1,),), exclusive=False)
    assert read_mask([save("d.png", disc)], alone, axis=-1)[0].tolist() == [[[[0, 1, 1]]]]
    with refuses(r"d\.png has the size 1 x 1 x 2, but .*c\.png has 1 x 1 x"):
        read_mask([save("c.png", cup), save("d.png", disc[:, :2])], table, axis=-1)


def test_ignored_pixels_of_one_file_are_left_out_of_every_class(save):
    table = ClassTable(names=("a", "b"), values=((1,), (1,)), exclusive=False, ignored=(9,))
    a, b = np.array([[0, 9, 1]], np.uint8), np.array([[1, 1, 9]], np.uint8)

    labels, _ = read_mask([save("a.png", a), save("b.png", b)], table, axis=-1)

    assert labels.tolist() == [[[[0, IGNORE, IGNORE]]], [[[1, IGNORE, IGNORE]]]]


def test_another_number_of_mask_files_is_refused(save):
    path = save("a.png", noise(4, 5))
    table = ClassTable(names=("a", "b", "c"), values=((1,),) * 3, exclusive=False)

    with refuses(r"a mask has 2 files, \['a.png', 'a.png'\]; expected 1\."):
        read_mask([path, path], TABLE, axis=-1)
    with refuses(r"a mask has 2 files.*expected 1 or 3, one per class"):
        read_mask([path, path], table, axis=-1)
