"""Tiles and flips: equal to the whole image, to MONAI, and to sums by hand."""

from functools import partial
from unittest.mock import Mock

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from tasks.segmentation.scores.windows import sliding_window, with_flips
from tests.tasks.segmentation.conftest import refuses

SHAPES = [  # image, window, overlap: side by side, odd, longer one way, one step per pixel
    ((64, 64), (32, 32), 0.0),
    ((37, 53), (16, 24), 0.5),
    ((61, 40), (33, 17), 0.25),
    ((19, 18), (7, 5), 0.99),
]


@pytest.fixture
def network():
    """Three convolutions: a pixel sees 3 pixels to each side."""
    layers = [nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 5, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Conv2d(5, 3, 3, padding=1)).eval().requires_grad_(False)


def identity(image):
    return image


@pytest.mark.parametrize("window", [(24, 30), (25, 30), (200, 300)])
def test_a_window_that_covers_the_image_gives_what_the_network_gives(network, window):
    image = torch.randn(3, 2, 24, 30)
    assert torch.equal(sliding_window(network, image, window=window, batch_size=1), network(image))


@pytest.mark.parametrize(("shape", "window", "overlap"), SHAPES)
def test_tiles_of_a_pointwise_network_give_the_whole_image(shape, window, overlap):
    network = nn.Conv2d(2, 4, 1).requires_grad_(False)
    image = torch.randn(2, 2, *shape)
    logits = sliding_window(network, image, window=window, overlap=overlap)
    torch.testing.assert_close(logits, network(image))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize(("shape", "window", "overlap"), SHAPES[:3])
def test_tiles_are_weighted_as_by_monai(network, shape, window, overlap, batch_size):
    image = torch.randn(2, 2, *shape)
    logits = sliding_window(network, image, window=window, overlap=overlap, batch_size=batch_size)
    expected = sliding_window_inference(
        image, window, 2, network, overlap=overlap, mode="gaussian", sigma_scale=0.125
    )
    torch.testing.assert_close(logits, expected)


def test_tiles_that_see_all_they_need_give_the_whole_image(network):
    image = torch.randn(1, 2, 20, 36)
    logits = sliding_window(network, image, window=(20, 20), overlap=0.6)  # from 0, 8 and 16
    exact = network(image)
    torch.testing.assert_close(logits[..., :8], exact[..., :8])  # 12 from the first tile's end
    torch.testing.assert_close(logits[..., 28:], exact[..., 28:])
    assert not torch.allclose(logits[..., 8:12], exact[..., 8:12])  # the second sees a border


def test_weights_fall_from_the_centre_as_a_gaussian_of_an_eighth_of_the_window():
    """Two tiles of 1 and 0 side by side: what remains is the share of the first."""
    seen = []

    def numbered(tiles):
        seen.append(len(tiles))
        return torch.ones_like(tiles) * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)

    share = sliding_window(numbered, torch.zeros(1, 1, 1, 24), window=(1, 16))[0, 0, 0]
    assert seen == [2]
    first, second = (torch.exp(-0.5 * (torch.arange(s, s + 8) / 2) ** 2) for s in (0.5, -7.5))
    first, second = first.clamp(min=1e-3), second.clamp(min=1e-3)
    torch.testing.assert_close(share[8:16], first / (first + second))
    assert (share[:8] == 1).all()
    assert (share[16:] == 0).all()


def test_the_last_tile_lies_flush_with_the_border_and_none_is_padded():
    columns, network = torch.arange(27.0).expand(1, 1, 5, 27), Mock(side_effect=identity)
    sliding_window(network, columns, window=(8, 10), overlap=0.5)
    tiles = torch.cat([call.args[0] for call in network.call_args_list])
    assert tiles.shape[2:] == (5, 10)
    assert tiles[:, 0, 0, 0].tolist() == [0, 5, 10, 15, 17]


def test_tiles_of_several_images_share_a_batch():
    image, network = torch.randn(3, 1, 4, 12), Mock(side_effect=identity)
    logits = sliding_window(network, image, window=(4, 4), overlap=0, batch_size=4)
    assert [len(call.args[0]) for call in network.call_args_list] == [4, 4, 1]
    torch.testing.assert_close(logits, image)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [(6, 6), (64, 64)])
def test_logits_keep_the_dtype_of_the_network(dtype, window):
    image = torch.randn(1, 1, 19, 17, dtype=dtype)
    with torch.inference_mode():
        logits = with_flips(partial(sliding_window, identity, window=window), image)
    assert logits.is_inference()
    # Sums in bfloat16 would be off by 1 / 256; those in float32, rounded once, are not.
    torch.testing.assert_close(logits, image, rtol=1e-6 if dtype.itemsize > 2 else 0, atol=0)


def test_sums_of_half_precision_do_not_overflow():
    image = torch.full((1, 1, 16, 16), 60_000, dtype=torch.float16)
    assert torch.equal(sliding_window(identity, image, window=(4, 4), overlap=0.9), image)
    assert torch.equal(with_flips(identity, image), image)


def test_flips_of_an_equivariant_network_change_nothing():
    image = torch.randn(2, 3, 9, 14)
    blur = nn.AvgPool2d(3, stride=1, padding=1)
    torch.testing.assert_close(with_flips(blur, image), blur(image))


def test_flipped_logits_are_flipped_back_and_averaged():
    def left_and_top(image):
        """Weigh columns by 1, 2 and rows by 1, 10: no flip gives the same."""
        return image * torch.tensor([[1.0, 2.0], [10.0, 20.0]])

    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])

    def flipped(*axes):
        return with_flips(left_and_top, image, axes=axes)[0, 0].tolist()

    assert flipped([]) == [[1, 4], [30, 80]]
    assert flipped([-1]) == [[2, 2], [60, 40]]
    assert flipped([-2]) == [[10, 40], [3, 8]]
    assert flipped([-2, -1]) == [[20, 20], [6, 4]]
    assert flipped([], [-1]) == [[1.5, 3], [45, 60]]
    assert with_flips(left_and_top, image)[0, 0].tolist() == [[8.25, 16.5], [24.75, 33]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (0, 8)}, r"got window=\(0, 8\), .*; expected sides of 1 or more"),
        ({"overlap": 1.0}, r"overlap=1.0 and .* an overlap from 0 to below 1"),
        ({"overlap": -0.1}, r"overlap=-0.1"),
        ({"overlap": float("nan")}, r"overlap=nan"),
        ({"batch_size": 0}, r"batch_size=0; .* and 1 tile or more"),
        ({"image": torch.zeros(1, 9, 9)}, r"shape \(1, 9, 9\); expected \(N, C, H, W\)"),
    ],
)
def test_images_and_options_that_do_not_fit_are_refused(options, message):
    with refuses(message):
        sliding_window(identity, **{"image": torch.zeros(1, 1, 9, 9), "window": (4, 4)} | options)


@pytest.mark.parametrize(
    ("axes", "shown"), [([], r"\[\]"), ([[0]], r"\[\[0\]\]"), ([[2]], r"\[\[2\]\]")]
)
def test_flips_along_other_axes_are_refused(axes, shown):
    with refuses(rf"axes is {shown}.*; expected at least one .*of -2"):
        with_flips(identity, torch.zeros(1, 1, 9, 9), axes=axes)
