"""What `keel_runtime` shows a network of a file, against Keel's own readers and torchvision."""

import ast
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tasks.common.export import keel_runtime
from tasks.common.export.keel_runtime import FORMAT, Model
from tasks.common.images.flat import pillow_pixels, with_channels
from tasks.detection.data.images import Reading, open_image

RANDOM = np.random.default_rng(0)
RGBA = RANDOM.integers(0, 256, (40, 60, 4), dtype=np.uint8)
RGB, GRAY = RGBA[..., :3], RGBA[..., 0]
DEEP, DEEP_RGB = (pixels.astype(np.uint16) * 257 for pixels in (GRAY, RGB))
PLANES, TRIPLET = np.moveaxis(RGB, -1, 0), np.moveaxis(DEEP_RGB, -1, 0)


NO_CHANGE = {"mean": [0.0], "std": [1.0]}


def shown(image, *, channels=3, exif="refuse", where="inside"):
    """What a detector is shown, of an image that its file prepares unless ``where`` is outside."""
    batches = []

    def run(batch):
        batches.append(batch)
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32)

    metadata = {
        "metadata_format": FORMAT,
        "task": "detection",
        "image_channels": channels,
        "input": {"layout": "NHWC"},
        "preprocessing": {"where": where, "min_size": 64, "max_size": 96, **NO_CHANGE},
        "reading": {"exif": exif, "range": [0, 65535], "clipped": False, "colours": "convert"},
    }
    Model.of(metadata, run).detect(image)
    return batches[0][0]


def keels(path, *, channels=3, exif="refuse"):
    reading = Reading(exif=exif, range=(0.0, 65535.0))
    return np.atleast_3d(open_image(path, in_channels=channels, reading=reading)[0])


def by_pillow(pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    image = image if mode is None else image.convert(mode)
    return lambda path: image.save(path, **options)


def by_tifffile(pixels, **options):
    return lambda path: tifffile.imwrite(path, pixels, **options)


def two_pages():
    return {"save_all": True, "append_images": [Image.fromarray(GRAY)]}


READ = {
    "rgb.png": by_pillow(RGB),
    "rgba.png": by_pillow(RGBA),
    "palette.png": by_pillow(RGB, "P"),
    "gray.png": by_pillow(GRAY),
    "la.png": by_pillow(RGB, "LA"),
    "two.png": by_pillow(GRAY, "1"),
    "deep.png": by_pillow(DEEP),
    "rgb.bmp": by_pillow(RGB),
    "rgb.webp": by_pillow(RGB, lossless=True),
    "rgba.webp": by_pillow(RGBA, lossless=True, exact=True),
    "rgb.jpg": by_pillow(RGB),
    "gray.jpg": by_pillow(GRAY),
    "pictures.jpg": by_pillow(RGB, format="MPO", **two_pages()),  # as telephones save a preview
    "rgb.tif": by_pillow(RGB),
    "rgba.tif": by_tifffile(RGBA, photometric="rgb", extrasamples=["unassalpha"]),
    "cmyk.tif": by_tifffile(RGBA, photometric="separated"),
    "planes.tif": by_tifffile(PLANES, photometric="rgb", planarconfig="separate"),
    "palette.tif": by_pillow(RGB, "P"),
    "white.tif": by_tifffile(GRAY, photometric="miniswhite"),
    "two.tif": by_tifffile(GRAY > 100),
    "deep.tif": by_tifffile(DEEP),
    "big_endian.tif": by_tifffile(DEEP, byteorder=">"),
    "signed.tif": by_tifffile(DEEP.astype(np.int32)),
    "float.tif": by_tifffile(DEEP.astype(np.float32)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_in_training(tmp_path, name, channels):
    READ[name](tmp_path / name)
    expected = keels(tmp_path / name, channels=channels)
    assert np.array_equal(shown(tmp_path / name, channels=channels), expected)


@pytest.mark.parametrize("name", ["rgb.png", "rgb.jpg", "la.png", "deep.png"])
def test_an_image_of_pillows_is_shown_as_by_keels_own_detector(tmp_path, name):
    READ[name](tmp_path / name)
    for channels in (1, 3):
        with Image.open(tmp_path / name) as image:
            found = shown(image, channels=channels)
        with Image.open(tmp_path / name) as image:
            held = with_channels(pillow_pixels(image), channels)
        expected = np.rint(held / 257) if held.dtype == np.uint16 else held
        assert np.array_equal(found, np.atleast_3d(expected))


def stated_gamma():
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    return info


REFUSED = {
    "pages.tif": (
        by_pillow(RGB, **two_pages()),
        "pages.tif has 2 pages; expected one; read it with",
    ),
    "frames.webp": (by_pillow(RGB, **two_pages()), "has 2 pages"),
    "frames.gif": (by_pillow(RGB), "frames.gif cannot be decoded .*expected a whole PNG, JPEG"),
    "deep_rgb.png": (
        lambda path: cv2.imwrite(str(path), DEEP_RGB),  # Pillow does not write them
        "has colours of 16 bits, which Pillow cuts to 8; .* pass its array",
    ),
    "deep_rgb.tif": (by_tifffile(DEEP_RGB, photometric="rgb"), "has colours of 16 bits"),
    "deep_planes.tif": (
        by_tifffile(TRIPLET, photometric="rgb", planarconfig="separate"),
        "has colours of 16 bits",
    ),
    "multiplied.tif": (
        by_tifffile(RGBA, photometric="rgb", extrasamples=["assocalpha"]),
        "is a kind of TIFF file that Pillow reads in another way",
    ),
    "more.tif": (
        by_tifffile(RGBA, photometric="rgb", extrasamples=["unspecified"]),
        "is a kind of TIFF file",
    ),
    "deep_white.tif": (by_tifffile(DEEP, photometric="miniswhite"), "is a kind of TIFF file"),
    "signed8.tif": (by_tifffile(GRAY.view(np.int8)), "is a kind of TIFF file"),
    "unsigned32.tif": (by_tifffile(GRAY.astype(np.uint32)), "is a kind of TIFF file"),
    "text.png": (lambda path: path.write_text("no image"), "text.png cannot be decoded"),
    "empty.png": (lambda path: path.write_bytes(b""), "empty.png cannot be decoded"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_pillow_reads_in_another_way_is_refused(tmp_path, name):
    write, said = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=said):
        shown(tmp_path / name)


def test_a_damaged_file_is_a_value_error(tmp_path):
    for name in ("rgb.png", "rgb.jpg", "rgb.tif", "rgb.webp"):
        path = tmp_path / name
        READ[name](path)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ValueError, match="cannot be decoded"):
            shown(path)
    with pytest.raises(FileNotFoundError):
        shown(tmp_path / "gone.png")


def test_gray_of_a_png_that_states_a_gamma_is_refused(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=stated_gamma())
    assert np.array_equal(shown(tmp_path / "a.png"), RGB)
    with pytest.raises(ValueError, match=r"states a gamma, .* save it in gray"):
        shown(tmp_path / "a.png", channels=1)


def result(read, path, exif):
    """What is read, or why a turned file is refused."""
    try:
        return read(path, exif=exif)
    except ValueError as error:
        return re.search("rotated by its EXIF orientation|turned by Pillow", str(error))[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("exif", ["apply", "ignore", "refuse"])
def test_orientations_are_treated_as_in_training(tmp_path, suffix, exif):
    for orientation in range(10):
        tags, path = Image.Exif(), tmp_path / f"{orientation}.{suffix}"
        tags[274] = orientation
        Image.fromarray(RGB).save(path, exif=tags, **{"lossless": True} if "w" in suffix else {})
        found, expected = (result(read, path, exif) for read in (shown, keels))
        if (suffix, exif) == ("tif", "ignore") and 2 <= orientation <= 8:
            expected = "turned by Pillow"
        assert np.array_equal(found, expected)


def test_too_narrow_images_are_those_that_torchvision_makes_less_than_a_pixel():
    transform = GeneralizedRCNNTransform(64, 96, [0.0] * 3, [1.0] * 3)
    refused = 0
    for long in (200, 480, 4704, 5000):  # 4704 / 96 is 49, and 49 * (1 / 49) less than 1 in float64
        for short in sorted({1, 2, 5, 6, long // 96, long // 96 + 1}):
            image = np.zeros((short, long, 1), np.uint8)
            try:
                transform.resize(torch.zeros(3, short, long))
            except RuntimeError:
                refused += 1
                for where in ("outside", "inside"):
                    with pytest.raises(ValueError, match=r"too narrow .* at most 96;") as error:
                        shown(image, channels=1, where=where)
                least = int(str(error.value).partition("at least ")[2].partition(".")[0])
                assert least > short
                shown(np.zeros((least, long, 1), np.uint8), channels=1)
                transform.resize(torch.zeros(3, least, long))
                with pytest.raises(RuntimeError):
                    transform.resize(torch.zeros(3, least - 1, long))
            else:
                shown(image, channels=1)
    assert refused > 8


def test_the_file_runs_on_python_3_9():
    source = Path(keel_runtime.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "typing"
        for alias in node.names
    }
    assert imported <= {"Any", "Final", "NamedTuple"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [c for c in calls if any(keyword.arg == "strict" for keyword in c.keywords)]
    checks = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "isinstance"]
    assert checks
    assert not [c for c in checks if isinstance(c.args[1], ast.BinOp)]  # a union
    assert "annotations" in {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


def test_without_onnx_runtime_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        Model(tmp_path / "x.onnx")
