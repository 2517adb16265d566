"""A segmenter in a program: whatever holds an image, it sees what a file would show it."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from tasks.segmentation import load_segmenter
from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.options import InputOptions
from tasks.segmentation.scores.trained import TrainedSegmenter
from tests.tasks.segmentation.conftest import refuses, save, save_all
from tests.tasks.segmentation.data.conftest import noise
from tests.tasks.segmentation.scores.conftest import Made, made_card

TABLE = class_table({0: "background", 7: "cell", 300: "debris"})
TWO = ClassTable(names=("dark", "bright"), values=((1,), (1,)), exclusive=False)


def levels(x):
    """Background below 100, cell below 200, debris from there on, of the last channel."""
    light, dark = x[:, -1] > 199.5 / 255, x[:, -1] < 99.5 / 255
    return [8 * part.float() for part in (dark, ~light & ~dark, light)]


def made(classes=TABLE, logits=levels, **options):
    return TrainedSegmenter(network=Made(logits), card=made_card(classes, **options))


def expected(values):
    return np.select([values < 100, values < 200], [0, 1], 2)


def test_an_array_an_image_a_tensor_and_a_file_have_the_same_mask(tmp_path):
    gray = noise(40, 50)
    path = save(tmp_path / "a.png", gray)
    tensor = torch.from_numpy(gray)
    held = [gray, gray[..., None], gray / 255, Image.fromarray(gray), tensor, tensor / 255]
    held += [np.dstack([gray, gray]), np.dstack([gray] * 3), gray.astype(np.uint16) * 257]
    for image in [path, str(path), (path,), *held]:
        found = made(gray_or_rgb=True)(image)
        np.testing.assert_array_equal(found.mask, expected(gray))
        assert found.mask.dtype == np.uint8
    np.testing.assert_array_equal(found.of("cell"), expected(gray) == 1)
    assert found.probabilities is None
    with refuses("no class 'cel'; expected one of background, cell, debris"):
        found.of("cel")


def test_channels_are_red_green_blue_without_alpha(tmp_path):
    rgba = noise(40, 50, 4)
    model = made(channels=3)
    path = save(tmp_path / "a.png", rgba[..., :3])
    for image in (path, rgba, Image.fromarray(rgba), torch.from_numpy(rgba).permute(2, 0, 1)):
        np.testing.assert_array_equal(model(image).mask, expected(rgba[..., 2]))
    four = made(channels=4)  # of which none is alpha
    np.testing.assert_array_equal(four(rgba).mask, expected(rgba[..., 3]))


def test_probabilities_are_those_of_the_logits_by_hand():
    gray = np.array([[0, 150, 250]], np.uint8)
    found = made()(gray, probabilities=True)
    sure, other = np.exp(8) / (np.exp(8) + 2), 1 / (np.exp(8) + 2)
    assert found.probabilities.shape == (3, 1, 3)
    np.testing.assert_allclose(found.probabilities[1, 0], [other, sure, other], rtol=1e-5)
    overlapping = made(TWO, lambda x: [x[:, 0] - 0.5, 0 * x[:, 0]])
    found = overlapping(gray, probabilities=True)
    np.testing.assert_array_equal(found.mask[0, 0], [0, 1, 1])
    np.testing.assert_array_equal(found.of("dark")[0], [False, True, True])
    by_hand = 1 / (1 + np.exp(0.5 - gray[0] / 255))
    np.testing.assert_allclose(found.probabilities[0, 0], by_hand, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities[1], 0.5)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_large_images_go_window_by_window(batch_size):
    gray, sizes = noise(70, 50), []

    def spy(x):
        sizes.append(tuple(x.shape))
        return levels(x)

    model = made(logits=spy)  # windows of 32 x 32
    found = model(gray, probabilities=True, batch_size=batch_size)
    np.testing.assert_array_equal(found.mask, expected(gray))
    assert {size[2:] for size in sizes} == {(32, 32)}
    assert max(size[0] for size in sizes) == batch_size
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, rtol=1e-5)


def test_a_volume_stays_one(tmp_path):
    """A file's slices come first; an array's are where they are."""
    volume = noise(40, 20, 3)  # in RAS, spacing largest along the last axis
    nib.save(nib.Nifti1Image(volume, np.diag([1, 1, 5, 1])), tmp_path / "v.nii")
    slices = np.moveaxis(volume, -1, 0)
    window = InputOptions(normalisation="window", window=(0, 255), patch=(32, 32))
    model = made()
    model = replace(model, card=replace(model.card, input=window))
    for image in (tmp_path / "v.nii", slices[..., None], torch.from_numpy(slices)[None]):
        found = model(image, probabilities=True)
        np.testing.assert_array_equal(found.mask, expected(slices))
        assert found.probabilities.shape == (3, *slices.shape)
    assert model(slices[:1, ..., None]).mask.shape == (1, 40, 20)


def test_exif_is_as_in_training(tmp_path):
    exif = Image.Exif()
    exif[274] = 3  # upside down
    gray = noise(40, 50)
    Image.fromarray(gray).save(tmp_path / "a.png", exif=exif)
    model = made()
    for exif, mask in (("ignore", gray), ("apply", gray[::-1, ::-1])):
        model = replace(model, card=replace(model.card, exif=exif))
        with Image.open(tmp_path / "a.png") as image:
            for held in (tmp_path / "a.png", image):
                np.testing.assert_array_equal(model(held).mask, expected(mask))
    model = replace(model, card=replace(model.card, exif="refuse"))
    with refuses("a.png is rotated by its EXIF orientation, 3.*Give exif=apply"):
        model(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((40, 50, 3), np.uint8),
            "the image has 3 channels in 1 files, but .* trained on 1",
        ),
        (np.zeros((3, 40, 50), np.uint8), r"shape \(3, 40, 50\).*lie as in a tensor: move that"),
        (np.full((4, 4), 7.5, np.float32), "the image has values from 7.5 to 7.5, but input.norm"),
        (np.full((4, 4), np.nan, np.float32), "the image has numbers that are NaN or infinite"),
        (np.zeros((4, 4), bool), "numbers of the type bool"),
        (np.full((4, 4), 255, np.uint16), "type uint16, none of them above 255: divided by 65535"),
        ([np.zeros((4, 4), np.uint8), "notes.txt"], "notes.txt is no image by its name"),
        (
            torch.zeros(2, 1, 8, 8),
            r"\(C, D, H, W\) with C of 1; four axes are one volume; give a b",
        ),
        (torch.zeros(3, 1, 8, 8), r"four axes are one volume; give a batch as a list of images"),
        (np.zeros((4, 8, 8, 2), np.uint8), r"\(D, H, W, C\) with C of 1; four axes are one"),
        (
            (np.zeros((4, 4)),) * 2,
            "image is a tuple with a ndarray; expected the paths of one image",
        ),
        ((), "is an empty tuple; .* Give several images as a list"),
        ([np.zeros((4, 4), np.uint8), None], "image 1 is of the type NoneType"),
    ],
)
def test_what_the_segmenter_cannot_take_is_refused(image, message):
    with refuses(message):
        made()(image)


def test_a_batch_is_not_taken_for_a_volume_of_gray_slices():
    batch = torch.from_numpy(noise(8, 8, 3)).permute(2, 0, 1)[None]
    with refuses(r"shape \(1, 3, 8, 8\).* with C of 3; four axes are one volume; give a batch"):
        made(channels=3, gray_or_rgb=True)(batch)
    (found,) = made(channels=3, gray_or_rgb=True)(list(batch))
    np.testing.assert_array_equal(found.mask, expected(batch[0, 2].numpy()))
    assert made()(batch).mask.shape == (3, 8, 8)  # where gray is what it takes


def test_a_list_gives_a_list_and_wrong_options_are_refused(tmp_path):
    save_all(tmp_path, a=noise(20, 20), b=noise(8, 30))
    found = made()([tmp_path / "a.png", tmp_path / "b.png"])
    assert [one.mask.shape for one in found] == [(20, 20), (8, 30)]
    with refuses("batch_size takes an integer of at least 1, got 0"):
        made()(noise(8, 8), batch_size=0)
    with pytest.raises(FileNotFoundError, match="no checkpoint or run folder"):
        load_segmenter(tmp_path / "gone")
