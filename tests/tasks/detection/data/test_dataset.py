import io

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.detection.data.check import check_images
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.data.images import read_image
from tasks.detection.data.raw_annotations import LabelledImage, Region
from tasks.detection.data.transforms import train_transform
from tasks.detection.options import AugmentOptions
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import HEIGHT, WIDTH, cleaned_set, noise, picture


def split_of(paths, *, sizes=None, regions=None):
    images = []
    objects = regions if regions is not None else [Region(label=2, bbox=(2, 4, 10, 8))]
    for number, path in enumerate(paths, start=100):
        about = {"path": path, "file_name": path.name, "image_id": number, "regions": objects}
        width, height = (sizes or {}).get(path.name, (WIDTH, HEIGHT))
        images.append(LabelledImage(width=width, height=height, **about))
    return cleaned_set(images, folder=paths[0].parent if paths else "")


def test_a_sample_is_the_image_and_its_target(save):
    dataset = DetectionDataset(split_of([save("a.png", picture())]))
    dataset[0][1]["boxes"].zero_()  # which changes no annotation
    image, target = dataset[0]
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0), picture())
    torch.testing.assert_close(target["boxes"], torch.tensor([[2.0, 4.0, 12.0, 12.0]]))
    torch.testing.assert_close(target["labels"], torch.tensor([2]))
    assert target["image_id"] == 100
    assert set(target) == {"boxes", "labels", "image_id"}


@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_flip_turns_the_image_and_the_box_in_gray_and_colour(save, in_channels):
    flip, path = train_transform(AugmentOptions(flip=1)), save("a.png", picture())
    sample = DetectionDataset(split_of([path]), transform=flip, in_channels=in_channels)[0]
    plain = DetectionDataset(split_of([path]), in_channels=in_channels)[0]
    empty = DetectionDataset(split_of([path], regions=[]), transform=flip)[0][1]
    assert sample[0].shape == (in_channels, HEIGHT, WIDTH)
    torch.testing.assert_close(sample[0], plain[0].flip(2))
    torch.testing.assert_close(sample[1]["boxes"], torch.tensor([[36.0, 4.0, 46.0, 12.0]]))
    assert empty["boxes"].shape == (0, 4)
    assert (empty["boxes"].dtype, empty["labels"].dtype) == (torch.float32, torch.int64)


def test_randomness_depends_on_seed_epoch_and_index(save):
    path = save("a.png", noise())
    split = split_of([path, path])

    def draw(key, seed=0):
        jitter = train_transform(AugmentOptions(color_jitter=0.4, scale=(0.8, 1.2)))
        return DetectionDataset(split, transform=jitter, seed=seed)[key][0].numpy().tobytes()

    assert draw((1, 0)) == draw((1, 0))
    assert draw(0) == draw((0, 0))
    assert len({draw((0, 0)), draw((0, 1)), draw((1, 0)), draw((1, 1)), draw((0, 0), 1)}) == 5


def test_a_size_that_differs_from_the_annotation_is_refused(save):
    path = save("a.png", picture(40, 30))
    with refuses(r"a.png is 40x30 pixels, but annotated as 48x32\.$"):
        DetectionDataset(split_of([path]))[0]
    with refuses(r"1 of 1 images .*a.png is 40x30 pixels, but annotated"):
        check_images(split_of([path]), policy="error")
    rotated = split_of([path], sizes={"a.png": (30, 40)})
    with refuses("annotated as 30x40 .annotated on a rotated image. Its own EXIF has no rotation"):
        DetectionDataset(rotated)[0]


def thumbnail():
    """Return EXIF data with a whole JPEG in it, which ends long before the image does."""
    small = io.BytesIO()
    Image.fromarray(noise()).save(small, "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "x"
    return exif.tobytes() + small.getvalue()


def refuse(path):
    """Assert that a file can neither be read nor pass the check."""
    with refuses(rf"{path.name} cannot be decoded"):
        read_image(path)
    with refuses(rf"1 of 1 images .*: {path.name} cannot be decoded"):
        check_images(split_of([path]), policy="error")


@pytest.mark.parametrize("filler", [b"", b"\0" * 5000])
@pytest.mark.parametrize(
    ("name", "options", "share"),
    [
        ("a.jpg", {}, 0.9),
        ("a.jpg", {"exif": thumbnail()}, 0.9),
        ("a.jpg", {"progressive": True}, 0.7),
        ("a.png", {}, 0.9),
        ("a.png", {}, 0.01),
    ],
)
def test_a_truncated_file_is_refused(save, name, options, share, filler):
    """Other formats are cut in the tests of `flat`; zeros in those without an end are black."""
    path = save(name, noise(), **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)] + filler)
    refuse(path)


@pytest.mark.parametrize("extra", [b"\0\0\0", b"\r\n", b"written by a camera" * 50])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_bytes_after_the_end_of_an_image_do_no_harm(save, name, extra):
    path = save(name, noise())
    path.write_bytes(path.read_bytes() + extra)
    assert read_image(path).shape == (HEIGHT, WIDTH, 3)
    assert len(check_images(split_of([path]), policy="error").images) == 1


def test_what_is_not_an_image_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>not found</html>")
    refuse(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"b.jpg"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("in_channels", [0, 2, 4])
def test_other_numbers_of_channels_are_refused(in_channels, tmp_path):
    message = rf"in_channels is {in_channels}; expected 3 \(RGB\) or 1 \(gray\)"
    with refuses(message):
        DetectionDataset(split_of([]), in_channels=in_channels)
    with refuses(message):
        read_image(tmp_path / "a.png", in_channels=in_channels)
