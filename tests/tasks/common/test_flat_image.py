"""TIFF files in all the shapes that they come in: no channel and no bit is dropped."""

import numpy as np
import pytest
import tifffile

from tasks.common.flat_image import read_pages


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
    (page,) = read_pages(tmp_path / "a.tif", indices=False)
    np.testing.assert_array_equal(page, pixels)
    assert page.dtype == dtype


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd"])
def test_compressed_files_are_read(tmp_path, compression):
    pixels = pixels_of(4, "uint16")
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, **options)
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif", indices=False)[0], pixels)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_a_sample_that_is_called_alpha_is_left_out(tmp_path, kind):
    pixels = pixels_of(4, "uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[kind])
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif", indices=False)[0], pixels[..., :3])


def test_pages_stay_pages(tmp_path):
    pixels = np.stack([pixels_of(4, "uint16"), pixels_of(4, "uint16") + 1])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(np.stack(read_pages(tmp_path / "a.tif", indices=False)), pixels)
