"""Flat images and masks, read and written, against Pillow, OpenCV, tifffile and arrays by hand."""

import base64

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence

from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.data.formats.files import read_image, write_mask
from tasks.segmentation.data.masks.read import mask_values, read_mask
from tests.tasks.segmentation.conftest import refuses
from tests.tasks.segmentation.data.conftest import noise

TABLE = class_table({0: "background", 1: "liver", 7: "vessel", 255: "tumour"})
LARGE = class_table({0: "background", 300: "liver"})
NOTHING = ClassTable(names=(), values=())  # says nothing of how a mask is read
MASK = np.array([[0, 1, 255], [255, 0, 7]], np.uint8)
TWO_BITS = base64.b64decode(  # a gray PNG file of 1 x 4 pixels with the numbers 0 to 3
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAABAgAAAACW50iwAAAACklEQVR4nGOQBgAAHQAcjvT1IQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def save(tmp_path):
    """Write a picture, or the pages of a TIFF file, with Pillow."""

    def write(name, *pages, **options):
        first, *others = (p if isinstance(p, Image.Image) else Image.fromarray(p) for p in pages)
        options |= {"save_all": True, "append_images": others} if others else {}
        first.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def pixels_of(path, **options):
    return read_image([path], axis=-1, **options)[0]


def labels_of(path, table=TABLE):
    return read_mask([path], table, axis=-1)[0]


def values_of(path):
    return sorted(mask_values(path, NOTHING).counts)


def pages_of(path):
    with Image.open(path) as picture:
        pages = ImageSequence.all_frames(picture) if picture.format == "TIFF" else [picture]
        return [np.array(page) for page in pages]


def copied(source, folder, table=TABLE):
    """Read a file as a mask, and write what was read in the geometry of the file as an image."""
    _, geometry = read_image([source], axis=-1)
    return write_mask(labels_of(source, table), table, geometry, folder=folder, name="copy")


@pytest.mark.parametrize(
    ("name", "shape", "channels"),
    [
        ("a.png", (4, 5), 1),
        ("a.png", (4, 5, 2), 1),
        ("a.png", (4, 5, 4), 3),
        *((f"a.{suffix}", (4, 5, 3), 3) for suffix in ("png", "bmp", "tif")),
    ],
)
def test_gray_is_one_channel_and_colour_three_without_transparency(save, name, shape, channels):
    stored = noise(*shape)
    pixels, geometry = read_image([save(name, stored)], axis=-1)
    expected = stored.reshape(4, 5, -1)[..., :channels].transpose(2, 0, 1)[:, None]
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.dtype == np.uint8
    assert (geometry.spacing, geometry.unit, geometry.axis) == ((1, 1, 1), "px", None)


@pytest.mark.parametrize("options", [{}, {"transparency": bytes([0, 255])}])
def test_a_palette_is_colours_in_an_image_and_indices_in_a_mask(save, options):
    indices = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    path = save("a.png", picture, **options)
    assert pixels_of(path)[:, 0, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    np.testing.assert_array_equal(labels_of(path), indices[None])
    assert values_of(path) == [0, 1]


def test_two_levels_are_0_and_255(save):
    levels = np.array([[True, False], [False, True]])
    path = save("a.png", levels)
    with Image.open(path) as picture:
        assert picture.mode == "1"
    np.testing.assert_array_equal(pixels_of(path)[0, 0], levels * 255)
    np.testing.assert_array_equal(labels_of(path)[0], levels * 3)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", "uint16"), *(("a.tif", t) for t in ("uint16", "int16", "int32", "float32"))],
)
def test_deep_numbers_stay_as_they_are(tmp_path, name, dtype, shape):
    stored = noise(*shape, dtype=dtype, high=32_000) - (1024 if dtype != "uint16" else 0)
    cv2.imwrite(str(tmp_path / name), stored.astype(dtype))  # colours as BGR
    pixels = pixels_of(tmp_path / name)
    assert pixels.dtype == dtype
    expected = stored.reshape(4, 5, -1)[..., ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels[:, 0], expected)


def test_the_pages_of_a_tiff_file_are_slices_of_one_size(save):
    path = save("a.tif", *noise(3, 4, 5))
    np.testing.assert_array_equal(pixels_of(path), noise(3, 4, 5)[None])
    path = save("a.tif", noise(4, 5), noise(4, 6))
    with refuses(r"a\.tif .*it has pages of different shapes, 4 x 5 and 4 x 6"):
        pixels_of(path)


def test_a_jpeg_is_what_pillow_reads_of_its_first_picture(save):
    exif = Image.Exif()
    exif[274] = 6
    path = save("a.jpg", noise(16, 24, 3), exif=exif)
    found = pixels_of(path, exif="ignore")
    np.testing.assert_array_equal(found[:, 0], pages_of(path)[0].transpose(2, 0, 1))
    pictures = (np.full((16, 24, 3), value, np.uint8) for value in (200, 10))
    assert (pixels_of(save("a.jpg", *pictures, format="MPO")) == 200).all()


def test_a_mask_is_turned_by_its_own_orientation(save):
    path = save("a.tif", MASK, tiffinfo={274: 6})
    labels, geometry = read_mask([path], TABLE, axis=-1, exif="apply")
    assert labels.tolist() == [[[3, 0], [0, 1], [2, 3]]]  # by hand: a quarter clockwise
    assert (geometry.orientation, geometry.turned) == (6, True)
    with refuses(r"a\.tif is rotated by its EXIF orientation, 6"):
        labels_of(path)
    assert values_of(path) == [0, 1, 7, 255]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_a_mask_has_the_stored_numbers_where_the_smallest_is_white(tmp_path, dtype):
    stored = np.zeros((10, 10), dtype)
    stored[0] = 1  # a tenth is the class
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    one = 255 if dtype == "bool" else 1
    labels = labels_of(tmp_path / "a.tif", class_table({0: "background", one: "cell"}))
    np.testing.assert_array_equal(labels[0], stored.astype(np.uint8))
    assert values_of(tmp_path / "a.tif") == [0, one]


def test_gray_of_two_bits_is_0_to_3_in_a_mask(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(TWO_BITS)
    assert values_of(path) == [0, 1, 2, 3]
    assert pixels_of(path).ravel().tolist() == [0, 85, 170, 255]  # Pillow's


def test_a_mask_of_equal_channels_is_one_and_of_unequal_ones_is_refused(save):
    equal = np.stack([MASK] * 3, axis=-1)
    assert labels_of(save("a.png", equal)).tolist() == [[[0, 1, 3], [3, 0, 2]]]
    equal[1, 2, 2] = 1  # one pixel, in blue only
    with refuses(r"b\.png has 3 channels that differ; .* Name them: "):
        labels_of(save("b.png", equal))


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        *((name, "m.png", "m.png") for name in ("a.png", "A.PNG", "a.jpg", "a.webp")),
        ("a.bmp", "m.bmp", "m.png"),
        ("a.tif", "m.tif", "m.tif"),
        ("a.tiff", "m.tiff", "m.tiff"),
    ],
)
def test_a_mask_has_the_type_of_its_image_if_it_can_hold_it(save, tmp_path, name, small, large):
    _, geometry = read_image([save(name, np.zeros((1, 2), np.uint8))], axis=-1)
    labels = np.array([[[0, 1]]], np.uint8)
    for table, written, dtype in ((TABLE, small, np.uint8), (LARGE, large, np.uint16)):
        [path] = write_mask(labels, table, geometry, folder=tmp_path / "out", name="m")
        assert path == tmp_path / "out" / written
        with Image.open(path) as picture:
            assert picture.format == Image.registered_extensions()[path.suffix]
        (page,) = pages_of(path)
        assert (page.dtype, page.tolist()) == (dtype, [[0, table.values[1][0]]])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(("unit", "tag"), [("inch", 2), ("centimeter", 3)])
def test_the_pages_and_resolution_of_a_tiff_file_come_back(tmp_path, byteorder, bigtiff, unit, tag):
    pages = np.random.default_rng(0).choice(np.array([0, 1, 7, 255], np.uint8), (3, 4, 5))
    options = {"resolution": (300.5, 200), "resolutionunit": unit, "metadata": None}
    options |= {"byteorder": byteorder, "bigtiff": bigtiff, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", pages, **options)
    [path] = copied(tmp_path / "a.tif", tmp_path / "out")
    np.testing.assert_array_equal(pages_of(path), pages)
    with Image.open(path) as picture:
        assert [float(picture.tag_v2[n]) for n in (282, 283)] == pytest.approx([300.5, 200])
        assert picture.tag_v2[296] == tag


def test_a_tiff_file_without_a_resolution_gets_none(save, tmp_path):
    [path] = copied(save("a.tif", MASK), tmp_path / "out")
    with Image.open(path) as picture:
        assert 282 not in picture.tag_v2


@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("way", [3, 6, 8])
def test_a_mask_lies_as_its_turned_image_does(save, tmp_path, name, way, exif):
    notes = Image.Exif()
    notes[274] = way
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[0, :2] = 255  # the object, in the stored pixels
    path = save(name, picture, **({"tiffinfo": {274: way}} if name == "a.tif" else {"exif": notes}))
    image, geometry = read_image([path], axis=-1, exif=exif)
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
    np.testing.assert_array_equal(pixels_of(path, exif=exif)[0] == 300, labels == 1)


def test_classes_that_overlap_have_files_of_their_own_and_no_folder(save, tmp_path):
    names = ("whole", "left/right")
    regions = ClassTable(names=names, values=((1, 2), (2,)), exclusive=False)
    paths = copied(save("a.png", np.array([[0, 1, 2]], np.uint8)), tmp_path, regions)
    assert paths == [tmp_path / "copy_whole.png", tmp_path / "copy_left-right.png"]
    assert [pages_of(path)[0].tolist() for path in paths] == [[[0, 1, 1]], [[0, 0, 1]]]
