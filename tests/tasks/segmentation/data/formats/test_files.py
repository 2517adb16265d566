"""What files of all types share: channels in several files, damage, and masks that appear whole."""

import gzip
import re

import numpy as np
import pytest

from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.formats.files import check_same_grid, read_image, write_mask
from tasks.segmentation.data.masks.read import read_mask
from tests.tasks.segmentation.conftest import misses, refuses, save
from tests.tasks.segmentation.data.conftest import noise

TABLE = class_table({0: "background", 1: "liver"})


@pytest.fixture
def file(tmp_path):
    """Write a volume or a picture by its name; see `save`."""
    return lambda name, pixels, **options: save(tmp_path / name, pixels, **options)


def test_several_files_are_channels_in_their_order(file):
    one, two = noise(3, 4, 5), noise(3, 4, 5, dtype=np.int16, high=900)
    paths = [file("a_0000.nii.gz", one), file("a_0001.nii.gz", two, at=1e-5)]  # header's rounding
    pixels, geometry = read_image(paths, axis=0)
    np.testing.assert_array_equal(pixels, np.stack([one, two]))
    assert (pixels.dtype, geometry.source) == (np.int16, paths[0])
    flat = [file("b_0000.png", noise(4, 5)), file("b_0001.png", noise(4, 5, 3))]
    assert read_image(flat, axis=-1)[0].shape == (4, 1, 4, 5)


def test_channels_of_different_size_or_place_are_refused_with_both_files(file):
    path = file("a.nii", noise(3, 4, 5))
    flat = file("c.png", noise(4, 5))
    with refuses(r"b\.nii has the size 3 x 5 x 5, but .*a\.nii has 3 x 4"):
        read_image([path, file("b.nii", noise(3, 5, 5))], axis=0)
    with refuses(r"b\.nii lies elsewhere than .*a\.nii: its affine is"):
        read_image([path, file("b.nii", noise(3, 4, 5), at=0.1)], axis=0)
    with refuses(r"c\.png is a flat image, but .*a\.nii is a volume"):
        check_same_grid(path, flat, sizes=((1, 4, 5), (1, 4, 5)))
    with refuses(r"size 1 x 5 x 4.*turned by an EXIF orientation\? See data"):
        read_image([flat, file("d.png", noise(5, 4))], axis=0)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.nii.gz", "a.nii"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6])
def test_a_truncated_file_is_refused_by_its_name(file, name, kept):
    path = file(name, noise(9, 9, 9) if ".nii" in name else noise(64, 64, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    reads = [lambda: read_image([path], axis=-1), lambda: read_mask([path], TABLE, axis=-1)]
    for read in reads[:1] if name.endswith(".jpg") else reads:  # which no mask may be
        with refuses(rf"(?s){re.escape(name)} cannot be decoded \(.*restore"):
            read()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nii.gz", gzip.compress(b"no volume" * 99, mtime=0)),
        ("b.nii.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 400),
        ("a.png", b"no image"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with refuses(rf"{re.escape(name)} cannot be decoded"):
        read_image([tmp_path / name], axis=-1)


def test_a_missing_file_is_named_with_what_is_there(file, tmp_path):
    file("a.png", noise(4, 5))
    with misses(r"b\.png' does not exist; .*holds 'a\.png'"):
        read_image([tmp_path / "b.png"], axis=-1)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.png", "a.tif"])
def test_a_full_disk_leaves_the_old_mask_and_nothing_else(file, tmp_path, monkeypatch, name):
    volume = ".nii" in name
    image, geometry = read_image([file(name, noise(3, 4, 5) if volume else noise(4, 5))], axis=-1)

    def write(stem):
        labels = np.ones(image.shape[1:], np.uint8)
        return write_mask(labels, TABLE, geometry, folder=tmp_path / "out", name=stem)

    [path] = write("copy")
    before = path.read_bytes()

    def half(self, target, *_, **__):
        with open(self if volume else target, "wb") as partial:  # noqa: PTH123
            partial.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes" if volume else "PIL.Image.Image.save", half)
    for again in ("copy", "new"):
        with pytest.raises(OSError, match="No space left"):
            write(again)

    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [path.name]
    assert path.read_bytes() == before
