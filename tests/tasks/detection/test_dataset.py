import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tasks.detection.boxes import LabelledImage, Region, annotations_of
from tasks.detection.dataset import DetectionDataset, check_images, collate, read_image
from tasks.detection.transforms import AugmentOptions, train_transform

WIDTH, HEIGHT = 48, 32


def picture(width=WIDTH, height=HEIGHT):
    """Return red on the left and blue on the right, with a green upper edge."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (250, 10, 20)
    pixels[:, width // 2 :] = (30, 20, 240)
    pixels[: height // 4] = (10, 200, 10)
    return pixels


def noise(width=WIDTH, height=HEIGHT):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def split_of(paths, *, sizes=None, regions=None):
    images = [
        LabelledImage(
            path=path,
            file_name=path.name,
            image_id=100 + number,
            height=(sizes or {}).get(path.name, (WIDTH, HEIGHT))[1],
            width=(sizes or {}).get(path.name, (WIDTH, HEIGHT))[0],
            regions=regions if regions is not None else [Region(label=2, bbox=(2, 4, 10, 8))],
        )
        for number, path in enumerate(paths)
    ]
    return annotations_of(
        images,
        source=Path("instances.json"),
        classes=["cat", "dog"],
        category_ids=[1, 2],
        ignored_reason="crowd",
    )


@pytest.mark.parametrize("in_channels", [1, 3])
def test_the_exif_orientation_is_not_applied(save, in_channels):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to view

    path = save("a.jpg", picture(), exif=exif)

    assert read_image(path, in_channels=in_channels).shape[:2] == (HEIGHT, WIDTH)
    split = split_of([path])
    assert check_images(split, policy="error") is split


def test_a_sample_is_the_image_and_its_target(save):
    image, target = DetectionDataset(split_of([save("a.png", picture())]))[0]

    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0), picture())
    torch.testing.assert_close(target["boxes"], torch.tensor([[2.0, 4.0, 12.0, 12.0]]))
    torch.testing.assert_close(target["labels"], torch.tensor([2]))
    assert target["image_id"] == 100
    assert set(target) == {"boxes", "labels", "image_id"}


def test_an_image_without_boxes_has_an_empty_target_of_the_right_shape(save):
    for transform in (None, train_transform(AugmentOptions(flip=1))):
        dataset = DetectionDataset(
            split_of([save("a.png", picture())], regions=[]), transform=transform
        )

        target = dataset[0][1]

        assert target["boxes"].shape == (0, 4)
        assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    "transform", [None, train_transform(AugmentOptions(flip=1, color_jitter=0.1))]
)
def test_gray_samples_have_one_channel(save, transform):
    dataset = DetectionDataset(
        split_of([save("a.png", picture())]), transform=transform, in_channels=1
    )

    assert dataset[0][0].shape == (1, HEIGHT, WIDTH)


def test_a_flip_turns_the_image_and_the_box(save):
    split = split_of([save("a.png", picture())])

    image, target = DetectionDataset(split, transform=train_transform(AugmentOptions(flip=1)))[0]

    np.testing.assert_array_equal(image.permute(1, 2, 0), picture()[:, ::-1])
    torch.testing.assert_close(target["boxes"], torch.tensor([[36.0, 4.0, 46.0, 12.0]]))


def test_changing_a_sample_changes_no_annotation(save):
    dataset = DetectionDataset(split_of([save("a.png", picture())]))

    dataset[0][1]["boxes"].zero_()

    assert dataset[0][1]["boxes"].sum() == 30


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

    with pytest.raises(ValueError, match=r"a.png is 40x30 pixels, but annotated as 48x32\.$"):
        DetectionDataset(split_of([path]))[0]
    with pytest.raises(ValueError, match=r"1 of 1 images .*a.png is 40x30 pixels, but annotated"):
        check_images(split_of([path]), policy="error")
    turned = split_of([path], sizes={"a.png": (30, 40)})
    with pytest.raises(ValueError, match=r"annotated as 30x40 .turned by its EXIF orientation"):
        DetectionDataset(turned)[0]


def thumbnail():
    """Return EXIF data with a whole JPEG in it, which ends long before the image does."""
    small = io.BytesIO()
    Image.fromarray(noise()).save(small, "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "x"
    return exif.tobytes() + small.getvalue()


CUTS = [
    ("a.jpg", {}, 0.9),
    ("a.jpg", {}, 0.5),
    ("a.jpg", {}, 0.01),
    ("a.jpg", {"exif": thumbnail()}, 0.9),
    ("a.jpg", {"progressive": True}, 0.7),
    ("a.png", {}, 0.9),
    ("a.png", {}, 0.01),
    ("a.bmp", {}, 0.5),
    ("a.tiff", {}, 0.5),
    ("a.webp", {}, 0.5),
    ("a.jpg", {}, 0),
]


# Formats without an end mark are left out with zeros: zeros in them are black pixels.
FILLED = [(*cut, b"\0" * 5000) for cut in CUTS if cut[0] in ("a.jpg", "a.png")]


@pytest.mark.parametrize(
    ("name", "options", "share", "filler"), [(*cut, b"") for cut in CUTS] + FILLED
)
def test_a_truncated_file_is_refused(save, name, options, share, filler):
    path = save(name, noise(), **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)] + filler)

    with pytest.raises(ValueError, match=rf"{name} (is empty or truncated|cannot be decoded)"):
        read_image(path)
    with pytest.raises(
        ValueError, match=rf"1 of 1 images .*: {name} (is truncated|cannot be read)"
    ):
        check_images(split_of([path]), policy="error")


@pytest.mark.parametrize("extra", [b"\0\0\0", b"\r\n", b"written by a camera" * 50])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_bytes_after_the_end_of_an_image_do_no_harm(save, name, extra):
    path = save(name, noise())
    path.write_bytes(path.read_bytes() + extra)

    assert read_image(path).shape == (HEIGHT, WIDTH, 3)
    assert len(check_images(split_of([path]), policy="error").images) == 1


def test_what_is_not_an_image_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("<html>not found</html>")

    with pytest.raises(ValueError, match=r"a.jpg cannot be decoded as an image"):
        read_image(path)
    with pytest.raises(ValueError, match=r"a.jpg cannot be read"):
        check_images(split_of([path]), policy="error")
    with pytest.raises(FileNotFoundError, match=r"b.jpg"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("in_channels", [0, 2, 4])
def test_other_numbers_of_channels_are_refused(in_channels, tmp_path):
    message = rf"in_channels is {in_channels}; expected 3 \(RGB\) or 1 \(gray\)"
    with pytest.raises(ValueError, match=message):
        DetectionDataset(split_of([]), in_channels=in_channels)
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / "a.png", in_channels=in_channels)


@pytest.fixture
def damaged(save, tmp_path):
    """A split of ten images, of which seven cannot be used."""
    good = [save(f"good{n}.png", picture()) for n in range(3)]
    small = [save(f"small{n}.png", picture(8, 8)) for n in range(4)]
    missing = [tmp_path / f"missing{n}.png" for n in range(3)]
    return split_of([good[0], *small, good[1], *missing, good[2]])


def test_the_check_names_five_images_and_counts_the_others(damaged):
    with pytest.raises(
        ValueError,
        match=r"instances.json: 7 of 10 images cannot be used: small0.png is 8x8 .*small3.png .*"
        r"missing0.png does not exist; and 2 more\. .*holds 'good0.png'.* Repair",
    ):
        check_images(damaged, policy="error")


def test_skipping_leaves_the_good_images_in_images_and_truth(damaged):
    kept = check_images(damaged, policy="skip")

    assert [record.path.name for record in kept.images] == ["good0.png", "good1.png", "good2.png"]
    ids = [record.image_id for record in kept.images]
    assert [entry["id"] for entry in kept.truth["images"]] == ids
    assert [entry["image_id"] for entry in kept.truth["annotations"]] == ids
    assert [entry["id"] for entry in kept.truth["annotations"]] == [1, 2, 3]
    assert kept.cleaned == {"images skipped": 7, "on an image that was skipped": 7}
    assert kept.classes == damaged.classes
    assert len(damaged.truth["images"]) == 10


def test_skipping_every_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 of 1 images cannot be used"):
        check_images(split_of([tmp_path / "a.png"]), policy="skip")


def test_an_unknown_policy_is_refused(damaged):
    with pytest.raises(ValueError, match="policy is 'ignore'; expected 'error' or 'skip'"):
        check_images(damaged, policy="ignore")


def test_the_check_decodes_neither_jpeg_nor_png(save, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("decoded")

    paths = [save("a.jpg", picture()), save("a.png", picture())]
    monkeypatch.setattr(cv2, "imdecode", refuse)
    monkeypatch.setattr(Image.Image, "load", refuse)

    assert len(check_images(split_of(paths), policy="error").images) == 2


def test_a_batch_is_a_list_of_images_and_one_of_targets():
    samples = [(torch.zeros(3, 4, 5), {"image_id": 1}), (torch.ones(3, 2, 2), {"image_id": 2})]

    images, targets = collate(samples)

    assert [tuple(image.shape) for image in images] == [(3, 4, 5), (3, 2, 2)]
    assert targets == [{"image_id": 1}, {"image_id": 2}]
