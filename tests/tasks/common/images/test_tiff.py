"""TIFF files in all the shapes that they come in: no channel and no bit is dropped."""

from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.common.images.flat import read_flat

GRAY = np.add.outer(np.arange(48), np.arange(64) * 2).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
TILED = np.tile(RGB, (4, 4, 1))
equal = np.testing.assert_array_equal


def read_pages(path):
    return read_flat(path).pages


@pytest.fixture
def saved(tmp_path):
    """Write pixels with tifffile, and return the file."""

    def write(pixels, name="a.tif", **options):
        tifffile.imwrite(tmp_path / name, pixels, **options)
        return tmp_path / name

    return write


def pixels_of(channels, dtype):
    values = np.random.default_rng(0).integers(0, 250, (6, 5, channels))
    return (values + 0.25).astype(dtype)  # whole numbers drop the quarter


KINDS = [("minisblack", n) for n in (2, 3, 4, 5, 7)] + [("rgb", n) for n in (3, 4, 5, 7)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("photometric", "channels"), KINDS)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_every_sample_of_a_pixel_is_a_channel(saved, dtype, channels, photometric, planar):
    pixels = pixels_of(channels, dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    unspecified = (0,) * (channels - (3 if photometric == "rgb" else 1))
    layout = {"photometric": photometric, "planarconfig": planar, "extrasamples": unspecified}
    (page,) = read_pages(saved(stored, **layout))
    equal(page, pixels)
    assert page.dtype == dtype


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_a_sample_that_is_called_alpha_is_left_out(saved, kind):
    pixels = pixels_of(4, "uint8")
    (page,) = read_pages(saved(pixels, photometric="rgb", extrasamples=[kind]))
    equal(page, pixels[..., :3])


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd"])
def test_pages_stay_pages_in_any_compression(saved, compression):
    pixels = np.stack([pixels_of(4, "uint16"), pixels_of(4, "uint16") + 1])
    layout = {"photometric": "minisblack", "planarconfig": "contig", "compression": compression}
    equal(np.stack(read_pages(saved(pixels, **layout))), pixels)


LOSSLESS = ["jpeg2000", "png", 33005, "lzma", "zstd", "lerc", "lzw", "zlib", "packbits", "jpegxl"]


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("compression", [*LOSSLESS, 33003, "jpegxr"])
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_no_compression_makes_a_file_black(saved, pixels, compression, channels):
    (page,) = read_flat(saved(pixels, compression=compression), channels=channels).pages
    equal(page, np.stack([pixels] * 3, -1) if channels and pixels.ndim == 2 else pixels)


NUMBERS = ["float16", "float32", "float64", "int32", "uint32", "int16"]
BIG_ENDIAN = {"compression": "lzw", "byteorder": ">"}


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        *product(NUMBERS, ({"compression": name} for name in ("lzma", "zstd", "lzw"))),
        ("uint16", BIG_ENDIAN | {"predictor": True}),
        ("uint16", BIG_ENDIAN | {"tile": (16, 16)}),
        ("uint16", BIG_ENDIAN | {"bigtiff": True}),
    ],
)
def test_every_depth_and_layout_is_read_as_stored(saved, dtype, options):
    pixels = GRAY.astype(dtype) * 100
    (page,) = read_pages(saved(pixels, **options))
    equal(page, pixels)
    assert page.dtype == dtype


CODEC = b"\x03\x01\x03\x00\x01\x00\x00\x00"  # the tag of the compression, before its number


def test_a_codec_that_is_not_there_is_named(saved):
    path = saved(GRAY, compression="zlib")
    zlib, unknown = (CODEC + number.to_bytes(2, "little") for number in (8, 65000))
    path.write_bytes(path.read_bytes().replace(zlib, unknown, 1))
    with pytest.raises(ValueError, match=r"a\.tif .*its compression EER_V0 fails.*65000"):
        read_pages(path)


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg2000", "jpeg", "lzw"])
def test_a_truncated_file_is_refused(saved, compression):
    path = saved(TILED, compression=compression, photometric="rgb")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.tif cannot be decoded"):
        read_pages(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma", "png", "jpegxl"])
def test_a_file_damaged_in_its_middle_is_refused(saved, compression):
    path = saved(TILED, compression=compression, photometric="rgb")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif cannot be decoded .its compression"):
        read_pages(path)


def test_a_part_that_is_not_stored_is_no_black(saved):
    path = saved(np.zeros((32, 32), np.uint8), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as source:
        counts = source.pages[0].tags["TileByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(ValueError, match=r"a\.tif .*a part of it is not stored"):
        read_pages(path)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32"])
def test_an_image_whose_smallest_number_is_white_is_inverted_at_every_depth(saved, dtype):
    pixels = (GRAY % 2 if dtype == "bool" else GRAY).astype(dtype)
    path = saved(pixels, photometric="miniswhite")
    top, scale = (1, 255) if dtype == "bool" else (np.iinfo(dtype).max, 1)
    (shown,), (stored,) = (read_flat(path, stored=stored).pages for stored in (False, True))
    equal(shown, (top - pixels.astype(np.int64)) * scale)
    equal(stored, pixels.astype(np.int64) * scale)


def test_white_at_the_smallest_of_floats_is_refused_for_an_image_only(saved):
    path = saved(GRAY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"smallest number is white .MinIsWhite.*float32"):
        read_pages(path)
    equal(read_flat(path, stored=True).pages[0], GRAY)


@pytest.mark.parametrize("compression", [None, "group4", "tiff_lzw"])
def test_two_levels_are_0_and_255(tmp_path, compression):
    levels = GRAY > 90
    Image.fromarray(levels).save(tmp_path / "a.tif", compression=compression)
    for stored in (False, True):
        (page,) = read_flat(tmp_path / "a.tif", stored=stored).pages
        equal(page, levels * 255)


COLOURS = list(product(("CMYK", "YCbCr", "P", "RGB"), (None, "jpeg", "tiff_lzw")))
COLOURS.remove(("P", "jpeg"))  # libtiff writes no such file


@pytest.mark.parametrize(("mode", "compression"), COLOURS)
def test_other_colours_become_rgb_as_in_pillow(tmp_path, mode, compression):
    smooth = np.stack([GRAY, GRAY // 2 + 60, 255 - GRAY], axis=-1)
    Image.fromarray(smooth).convert(mode).save(tmp_path / "a.tif", compression=compression)
    (page,) = read_pages(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as picture:
        expected = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(page - expected).max() <= 2


def test_a_palette_of_4_bits_gives_its_own_colours(saved):
    indices = (GRAY % 16).astype(np.uint8)
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    path = saved(indices, photometric="palette", bitspersample=4, colormap=colours)
    equal(read_pages(path)[0], (colours // 257).astype(np.uint8).T[indices])


@pytest.mark.parametrize(
    ("pixels", "photometric", "message"),
    [
        (RGB, "cielab", "its kind of colours, CIELAB in uint8"),
        (GRAY.astype(np.complex64), None, "numbers of type complex64"),
    ],
)
def test_colours_that_are_not_read_are_named(saved, pixels, photometric, message):
    with pytest.raises(ValueError, match=rf"a\.tif .*{message}"):
        read_pages(saved(pixels, photometric=photometric))


def test_channels_that_imagej_and_ome_name_are_channels(saved):
    stack = np.stack([GRAY + n for n in range(6)])
    for name, axes, shape, options in (
        ("a.tif", "ZCYX", (2, 3, 48, 64), {"imagej": True}),
        ("a.ome.tif", "CZYX", (3, 2, 48, 64), {"photometric": "minisblack"}),
    ):
        pixels = stack.reshape(shape)
        path = saved(pixels, name, metadata={"axes": axes}, **options)
        equal(read_pages(path), np.moveaxis(pixels, axes.index("C"), -1))


def test_a_page_that_stands_for_many_is_read_whole(tmp_path):
    stack = np.stack([GRAY + n for n in range(5)])
    with tifffile.TiffWriter(tmp_path / "a.tif") as target:
        target.write(stack, contiguous=True, metadata={"axes": "ZYX", "truncate": True})
    equal(read_pages(tmp_path / "a.tif"), stack)


@pytest.mark.parametrize("below", [True, False])
def test_smaller_copies_of_a_page_are_no_pages(tmp_path, below):
    with tifffile.TiffWriter(tmp_path / "a.tif") as target:
        target.write(np.tile(GRAY, (2, 2)), subifds=1 if below else 0)
        target.write(GRAY, subfiletype=1)
    (page,) = read_pages(tmp_path / "a.tif")
    equal(page, np.tile(GRAY, (2, 2)))
