"""TIFF files in all the shapes that they come in: no channel and no bit is dropped."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.common.images.flat import read_flat

GRAY = np.add.outer(np.arange(48), np.arange(64) * 2).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)


def read_pages(path):
    return read_flat(path).pages


def pixels_of(channels, dtype):
    values = np.random.default_rng(0).integers(0, 250, (6, 5, channels))
    return (values + 0.25).astype(dtype)  # whole numbers drop the quarter


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_every_sample_of_a_pixel_is_a_channel(tmp_path, dtype, channels, photometric, planar):
    if photometric == "rgb" and channels < 3:
        pytest.skip("no such colour")
    pixels = pixels_of(channels, dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    unspecified = (0,) * (channels - (3 if photometric == "rgb" else 1))
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric=photometric,
        planarconfig=planar,
        extrasamples=unspecified,
    )
    (page,) = read_pages(tmp_path / "a.tif")
    np.testing.assert_array_equal(page, pixels)
    assert page.dtype == dtype


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_a_sample_that_is_called_alpha_is_left_out(tmp_path, kind):
    pixels = pixels_of(4, "uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[kind])
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif")[0], pixels[..., :3])


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd"])
def test_pages_stay_pages_in_any_compression(tmp_path, compression):
    pixels = np.stack([pixels_of(4, "uint16"), pixels_of(4, "uint16") + 1])
    options = {"photometric": "minisblack", "planarconfig": "contig", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    np.testing.assert_array_equal(np.stack(read_pages(tmp_path / "a.tif")), pixels)


LOSSLESS = ["jpeg2000", "png", 33005, "lzma", "zstd", "lerc", "lzw", "zlib", "packbits", "jpegxl"]


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("compression", [*LOSSLESS, 33003, "jpegxr"])
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_no_compression_makes_a_file_black(tmp_path, pixels, compression, channels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression)

    (page,) = read_flat(path, channels=channels).pages

    expected = np.stack([pixels] * 3, -1) if channels and pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(page, expected)


@pytest.mark.parametrize("compression", ["lzma", "zstd", "lzw"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint32", "int16"])
def test_every_depth_is_read_as_stored(tmp_path, dtype, compression):
    pixels = GRAY.astype(dtype) * 3
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression)

    (page,) = read_pages(tmp_path / "a.tif")

    np.testing.assert_array_equal(page, pixels)
    assert page.dtype == dtype


@pytest.mark.parametrize("options", [{"predictor": True}, {"tile": (16, 16)}, {"bigtiff": True}])
def test_predictors_tiles_and_bigtiff_are_read(tmp_path, options):
    deep = GRAY.astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "a.tif", deep, compression="lzw", byteorder=">", **options)
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif")[0], deep)


def test_a_codec_that_is_not_there_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY, compression="zlib")
    content = (tmp_path / "a.tif").read_bytes()
    named = content.replace(b"\x03\x01\x03\x00\x01\x00\x00\x00\x08\x00", CODEC_65000, 1)
    (tmp_path / "a.tif").write_bytes(named)

    with pytest.raises(ValueError, match=r"a\.tif .*its compression EER_V0 fails.*65000"):
        read_pages(tmp_path / "a.tif")


CODEC_65000 = b"\x03\x01\x03\x00\x01\x00\x00\x00" + (65000).to_bytes(2, "little")


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg2000", "jpeg", "lzw"])
def test_a_truncated_file_is_refused(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.tile(RGB, (4, 4, 1)), compression=compression, photometric="rgb")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.tif cannot be decoded"):
        read_pages(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma", "png", "jpegxl"])
def test_a_file_damaged_in_its_middle_is_refused(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.tile(RGB, (4, 4, 1)), compression=compression, photometric="rgb")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif cannot be decoded .its compression"):
        read_pages(path)


def test_a_part_that_is_not_stored_is_no_black(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as source:
        counts = source.pages[0].tags["TileByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(ValueError, match=r"a\.tif .*a part of it is not stored"):
        read_pages(path)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32"])
def test_an_image_whose_smallest_number_is_white_is_inverted_at_every_depth(tmp_path, dtype):
    pixels = (GRAY % 2 if dtype == "bool" else GRAY).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    top = 1 if dtype == "bool" else np.iinfo(dtype).max

    (shown,) = read_flat(tmp_path / "a.tif").pages
    (stored,) = read_flat(tmp_path / "a.tif", stored=True).pages

    scale = 255 if dtype == "bool" else 1
    np.testing.assert_array_equal(shown, (top - pixels.astype(np.int64)) * scale)
    np.testing.assert_array_equal(stored, pixels.astype(np.int64) * scale)


def test_white_at_the_smallest_of_floats_is_refused_for_an_image_only(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"smallest number is white .MinIsWhite.*float32"):
        read_pages(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_flat(tmp_path / "a.tif", stored=True).pages[0], GRAY)


@pytest.mark.parametrize("compression", [None, "group4", "tiff_lzw"])
def test_two_levels_are_0_and_255(tmp_path, compression):
    levels = GRAY > 90
    Image.fromarray(levels).save(tmp_path / "a.tif", compression=compression)
    for stored in (False, True):
        (page,) = read_flat(tmp_path / "a.tif", stored=stored).pages
        np.testing.assert_array_equal(page, levels * 255)


@pytest.mark.parametrize("compression", [None, "jpeg", "tiff_lzw"])
@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "P", "RGB"])
def test_other_colours_become_rgb_as_in_pillow(tmp_path, mode, compression):
    if (mode, compression) == ("P", "jpeg"):
        pytest.skip("libtiff writes no such file")
    smooth = np.stack([GRAY, GRAY // 2 + 60, 255 - GRAY], axis=-1)
    Image.fromarray(smooth).convert(mode).save(tmp_path / "a.tif", compression=compression)
    (page,) = read_pages(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as picture:
        expected = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(page - expected).max() <= 2


def test_a_palette_of_4_bits_gives_its_own_colours(tmp_path):
    indices = (GRAY % 16).astype(np.uint8)
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    options = {"photometric": "palette", "bitspersample": 4, "colormap": colours}
    tifffile.imwrite(tmp_path / "a.tif", indices, **options)
    expected = (colours // 257).astype(np.uint8).T[indices]
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif")[0], expected)


def test_colours_that_are_not_read_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="cielab")
    with pytest.raises(ValueError, match=r"a\.tif .*its kind of colours, CIELAB in uint8"):
        read_pages(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", GRAY.astype(np.complex64))
    with pytest.raises(ValueError, match=r"b\.tif .*numbers of type complex64"):
        read_pages(tmp_path / "b.tif")


def test_channels_that_imagej_and_ome_name_are_channels(tmp_path):
    stack = np.stack([GRAY + n for n in range(6)])
    tifffile.imwrite(
        tmp_path / "a.tif", stack.reshape(2, 3, 48, 64), imagej=True, metadata={"axes": "ZCYX"}
    )
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        stack.reshape(3, 2, 48, 64),
        photometric="minisblack",
        metadata={"axes": "CZYX"},
    )
    pages = read_pages(tmp_path / "a.tif")
    np.testing.assert_array_equal(pages, np.moveaxis(stack.reshape(2, 3, 48, 64), 1, -1))
    pages = read_pages(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(pages, np.moveaxis(stack.reshape(3, 2, 48, 64), 0, -1))


def test_a_page_that_stands_for_many_is_read_whole(tmp_path):
    stack = np.stack([GRAY + n for n in range(5)])
    with tifffile.TiffWriter(tmp_path / "a.tif") as target:
        target.write(stack, contiguous=True, metadata={"axes": "ZYX", "truncate": True})
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif"), stack)


@pytest.mark.parametrize("below", [True, False])
def test_smaller_copies_of_a_page_are_no_pages(tmp_path, below):
    with tifffile.TiffWriter(tmp_path / "a.tif") as target:
        target.write(np.tile(GRAY, (2, 2)), subifds=1 if below else 0)
        target.write(GRAY, subfiletype=1)
    (page,) = read_pages(tmp_path / "a.tif")
    np.testing.assert_array_equal(page, np.tile(GRAY, (2, 2)))
