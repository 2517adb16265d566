"""`conv_norm` takes a shortcut where statistics are fixed; the plain path is its oracle."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import FrozenBatchNorm2d

from backbones.layers.conv import conv_norm


def fill(norm):
    """Give a norm statistics and an affine part that matter."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(norm, name).data.uniform_(0.5, 2.0)
    return norm


CONVOLUTIONS = {
    "3x3": lambda: nn.Conv2d(8, 12, 3, padding=1, bias=False),
    "bias": lambda: nn.Conv2d(8, 12, 3, padding=1),
    "strided": lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
    "dilated": lambda: nn.Conv2d(8, 12, 3, padding=2, dilation=2, bias=False),
    "grouped": lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4, bias=False),
    "reflect": lambda: nn.Conv2d(8, 12, 3, padding=1, padding_mode="reflect"),
}
NORMS = {
    "batch in eval": lambda: fill(nn.BatchNorm2d(12)).eval(),
    "frozen": lambda: fill(FrozenBatchNorm2d(12)),
    "batch in training": lambda: fill(nn.BatchNorm2d(12)),
    "no statistics": lambda: nn.BatchNorm2d(12, track_running_stats=False).eval(),
    "not affine": lambda: nn.BatchNorm2d(12, affine=False).eval(),
    "group": lambda: nn.GroupNorm(4, 12),
}


@pytest.mark.parametrize("make_conv", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("make_norm", NORMS.values(), ids=NORMS)
def test_values_and_gradients_are_those_of_the_plain_path(make_conv, make_norm):
    conv, norm = make_conv().double(), make_norm().double()
    x = torch.randn(2, 8, 9, 11, dtype=torch.float64, requires_grad=True)
    leaves = [x, *conv.parameters(), *norm.parameters()]
    expected = norm(conv(x))
    found = conv_norm(conv, norm, x)
    torch.testing.assert_close(found, expected)

    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, upstream),
        torch.autograd.grad(expected, leaves, upstream),
    )


@pytest.mark.parametrize("name", ["batch in eval", "frozen"])
def test_fixed_statistics_never_run_the_norm(name, monkeypatch):
    norm = NORMS[name]()
    monkeypatch.setattr(type(norm), "__call__", None)  # calling it would raise
    assert conv_norm(CONVOLUTIONS["3x3"](), norm, torch.randn(1, 8, 4, 4)).shape == (1, 12, 4, 4)


@pytest.mark.parametrize("name", ["batch in eval", "frozen"])
def test_under_autocast_it_is_as_close_to_float32_as_the_plain_path(name):
    conv, norm, x = CONVOLUTIONS["3x3"](), NORMS[name](), torch.randn(2, 8, 16, 16)
    exact = norm(conv(x))
    with torch.autocast("cpu", torch.bfloat16):
        plain, found = norm(conv(x)), conv_norm(conv, norm, x)
    assert found.dtype == torch.bfloat16
    error = (plain.float() - exact).abs().mean()
    assert (found.float() - exact).abs().mean() < 2 * error


def same(convolution, norm):
    """Expect the values of the plain path."""
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(conv_norm(convolution, norm, x), norm(convolution(x)))


def test_a_convolution_that_does_more_than_convolve_is_called_as_it_is():
    """Standardised, pruned and hooked ones would lose what they do."""

    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    pruned = prune.l1_unstructured(nn.Conv2d(3, 4, 3), "weight", amount=0.5)
    pruned.weight_orig.data.mul_(3)
    patched = nn.Conv2d(3, 4, 3)
    patched.forward = Doubled.forward.__get__(Doubled(3, 4, 3))
    wrapped = nn.Sequential(nn.Conv2d(3, 4, 3))  # what LoRA puts in a convolution's place
    for convolution in (Doubled(3, 4, 3), pruned, patched, wrapped):
        same(convolution, fill(nn.BatchNorm2d(4)).eval())


def test_a_norm_that_does_more_than_normalise_is_called_as_it_is():
    """timm's batch norms rectify as well."""

    class Rectifying(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    patched = nn.BatchNorm2d(4).eval()
    patched.forward = lambda x: -x
    for norm in (Rectifying(4).eval(), patched):
        same(nn.Conv2d(3, 4, 3), norm)


def test_a_parametrised_convolution_has_its_weight():
    for parametrise in (parametrizations.weight_norm, parametrizations.spectral_norm):
        same(parametrise(nn.Conv2d(3, 4, 3)).eval(), fill(nn.BatchNorm2d(4)).eval())
