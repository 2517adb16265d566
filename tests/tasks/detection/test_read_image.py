import numpy as np
import pytest

from tasks.detection.dataset import read_image

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


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.tiff", {}, 0),
        ("a.png", {"mode": "RGBA"}, 0),
        ("a.png", {"mode": "P"}, 60),  # Pillow's web palette is coarse
        ("a.jpg", {"quality": 98, "subsampling": 0}, 12),
        ("a.jpg", {"mode": "CMYK", "quality": 98, "subsampling": 0}, 12),
        ("a.webp", {"lossless": True}, 0),
    ],
)
def test_colours_come_in_the_order_red_green_blue(save, name, options, tolerance):
    pixels = read_image(save(name, picture(), **options))

    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels.astype(int) - picture()).max() <= tolerance


def test_a_gray_file_becomes_three_equal_channels(save):
    gray = noise()[..., 0]

    pixels = read_image(save("a.png", gray))

    np.testing.assert_array_equal(pixels, np.stack([gray] * 3, axis=-1))


def test_one_channel_is_the_luma_of_a_colour_file(save):
    pixels = read_image(save("a.png", noise()), in_channels=1)

    luma = noise() @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert pixels.shape == (HEIGHT, WIDTH)
    assert np.abs(pixels - luma).max() <= 1


def test_sixteen_bits_are_divided_by_256(save):
    deep = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 40).astype(np.uint16)

    pixels = read_image(save("a.png", deep), in_channels=1)

    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, deep / 256, atol=1)
