"""A detector in a program: whatever holds an image, the network sees what a file would show it."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from backbones import BackboneOptions
from tasks.detection import Detections, load_detector
from tasks.detection.data.images import Reading
from tasks.detection.scores.trained import TrainedDetector
from tests.backbones.errors import refuses
from tests.tasks.common.fakes import save as save_checkpoint
from tests.tasks.detection.conftest import CARD, picture

GRAY = replace(CARD, backbone_options=BackboneOptions(in_channels=1))
DEEP = replace(CARD, reading=Reading(range=(0, 4095)))


class Echo(nn.Module):
    """Keeps what it is shown, in batches, and finds two boxes in everything."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, images):
        self.batches.append(images)
        found = {
            "boxes": torch.tensor([[2.0, 3.0, 12.0, 8.0], [0.0, 0.0, 4.0, 4.0]]),
            "labels": torch.tensor([2, 1]),
            "scores": torch.tensor([0.9, 0.3]),
        }
        return [found] * len(images)

    @property
    def last(self):
        return self.batches[-1][-1]


def made(card=CARD):
    return TrainedDetector(network=Echo(), card=card)


def seen(image, card=CARD):
    """What the network sees of an image."""
    model = made(card)
    model(image)
    return model.network.last


def equal(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected).float(), rtol=0, atol=1e-6)


def test_an_array_an_image_a_tensor_and_a_file_are_seen_alike(save):
    rgb = picture()
    path = save("a.png", rgb)
    expected = torch.from_numpy(rgb / 255).permute(2, 0, 1)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    alpha = np.dstack([rgb, rgb[..., 0]])
    reversed_twice = np.ascontiguousarray(rgb[..., ::-1])[..., ::-1]  # OpenCV's order, turned
    held = [rgb, Image.fromarray(rgb), tensor, tensor / 255, alpha, Image.fromarray(alpha)]
    for image in [path, str(path), *held, reversed_twice, tensor.double() / 255]:
        equal(seen(image), expected)
    with Image.open(path) as image:  # lazily
        equal(seen(image), expected)


def test_gray_becomes_rgb_and_rgb_gray_as_in_files(save):
    rgb, gray = picture(), picture()[..., 0]
    three = np.stack([gray / 255] * 3)
    for image in (gray, gray[..., None], Image.fromarray(gray), torch.from_numpy(gray)):
        equal(seen(image), three)
    for image in (np.dstack([gray, gray]), Image.fromarray(gray).convert("LA")):
        equal(seen(image), three)
    luma = seen(save("a.png", rgb), GRAY)
    assert luma.shape == (1, *gray.shape)
    for image in (rgb, Image.fromarray(rgb)):
        assert (seen(image, GRAY) - luma).abs().max() <= 1 / 255
    by_hand = torch.from_numpy(rgb @ np.array([0.299, 0.587, 0.114]) / 255)[None]
    assert (seen(torch.from_numpy(rgb).permute(2, 0, 1) / 255, GRAY) - by_hand).abs().max() < 1e-6


def test_other_numbers_become_8_bits_by_the_range_of_the_training(save):
    deep = np.array([[0, 4095], [2048, 1]], np.uint16)
    expected = np.stack([np.rint(deep / 4095 * 255) / 255] * 3)
    path = save("a.png", deep)
    for image in (path, deep, Image.fromarray(deep), torch.from_numpy(deep.astype(np.int32))):
        equal(seen(image, DEEP), expected)
    equal(seen(deep.astype(np.float64), DEEP), expected)
    with refuses(r"the image has numbers of type uint16, 0 to 4095, but the detector was trained"):
        made()(deep)
    with refuses(r"of type float32, 0 to 1.*such as load_detector\(\.\.\., range_=\(0, 1\)\)"):
        made()(np.array([[0, 1]], np.float32))
    with refuses(r"image 1 has numbers of type uint16, 0 to 5000, outside of 0 to 4095"):
        made(DEEP)([deep, np.array([[0, 5000]], np.uint16)])


def test_an_exif_orientation_is_treated_as_in_a_file(save):
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees to the right
    path = save("a.png", picture(), exif=exif)
    with Image.open(path) as image:
        image.load()
    upright = np.rot90(picture(), -1)
    for held in (path, image):
        with refuses(r"is rotated by its EXIF orientation, 6.*Give exif=apply"):
            made()(held)
        turned = replace(CARD, reading=Reading(exif="apply"))
        equal(seen(held, turned), np.moveaxis(upright / 255, -1, 0))
        found = made(turned)(held)
        assert (found.height, found.width) == upright.shape[:2]
        ignored = replace(CARD, reading=Reading(exif="ignore"))
        equal(seen(held, ignored), np.moveaxis(picture() / 255, -1, 0))


def test_detections_are_typed_and_frozen():
    found = made()(picture())
    assert isinstance(found, Detections)
    np.testing.assert_array_equal(found.boxes, [[2, 3, 12, 8], [0, 0, 4, 4]])
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert (found.labels.tolist(), found.names) == ([2, 1], ("dog", "cat"))
    assert (len(found), found.height, found.width) == (2, *picture().shape[:2])
    with pytest.raises(FrozenInstanceError):
        found.boxes = None
    best = made()(picture(), threshold=0.5)
    assert (best.names, best.scores.tolist()) == (("dog",), [pytest.approx(0.9)])
    assert len(found.above(0.9)) == 1  # at least the threshold, in float32
    assert len(found.above(1)) == 0
    assert found.tensors()["boxes"].shape == (2, 4)


def test_a_list_gives_a_list_in_batches():
    model, images = made(), [picture(), picture(10, 20), picture()]
    assert [len(one) for one in model(images, threshold=0.5)] == [1, 1, 1]
    assert [len(batch) for batch in model.network.batches] == [1, 1, 1]
    model(images, batch_size=2)
    shapes = [[tuple(image.shape[1:]) for image in batch] for batch in model.network.batches[3:]]
    assert shapes == [[images[0].shape[:2]] * 2, [images[1].shape[:2]]]  # none is padded further
    assert model([]) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 40, 50), np.uint8), r"shape \(3, 40, 50\); expected \(H, W\) or \(H, W, C\)"),
        (np.zeros((3, 40, 50), np.uint8), "its channels lie as in a tensor: move that axis"),
        (torch.zeros(40, 50, 3), r"expected \(H, W\) or \(C, H, W\) .* lie as in an array"),
        (torch.zeros(2, 3, 40, 50), r"give a batch as a list of images: list\(images\)"),
        (np.zeros((0, 4, 3), np.uint8), r"the image has the shape \(0, 4, 3\)"),
        (np.zeros((4, 4), bool), "numbers of the type bool; expected whole or floating-point"),
        (torch.full((3, 4, 4), 255.0), "a tensor of float32 from 255 to 255; expected 0 to 1, or"),
        (torch.full((3, 4, 4), torch.nan), "from nan to nan; expected 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), "NaN or infinite"),
        (None, "is of the type NoneType; expected a path, a NumPy array"),
        (
            picture(300, 2),
            r"the image is 300x2 pixels, too narrow .* at least 4\. Cut it into parts",
        ),
        (torch.zeros(3, 300, 2), "the image is 2x300 pixels, too narrow"),
        ([picture(), 7], "image 1 is of the type int"),
    ],
)
def test_what_is_no_image_is_refused_with_what_is_expected(image, message):
    with refuses(message):
        made()(image)


def test_wrong_options_and_missing_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image '.*gone\.png' does not exist"):
        made()(tmp_path / "gone.png")
    Image.fromarray(picture(300, 2)).save(tmp_path / "narrow.png")
    with refuses(r"narrow\.png is 300x2 pixels, too narrow"):
        made()(tmp_path / "narrow.png")
    with refuses("threshold takes a score from 0 to 1, got 50"):
        made()(picture(), threshold=50)
    with refuses("batch_size takes an integer of at least 1, got 0"):
        made()(picture(), batch_size=0)


def test_options_of_loading_reach_the_detector(tmp_path):
    path = save_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt", CARD, CARD.build())
    model = load_detector(tmp_path / "run", device="cpu", detections_per_image=3, range_=(0, 9))
    assert model.checkpoint == path
    assert model.classes == ("cat", "dog")
    assert model.card.reading == Reading(range=(0.0, 9.0), clipped=True)
    assert len(model(picture())) == 3
    for wrong, message in (
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:99"}, "device"),
        ({"precision": "bf61"}, "unknown precision 'bf61'"),
        ({"exif": "aply"}, "unknown exif 'aply'"),
        ({"range_": (5, 1)}, r"^range_ takes the lowest and the highest"),
    ):
        with refuses(message):
            load_detector(path, **wrong)
