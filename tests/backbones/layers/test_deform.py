"""Deformable convolutions against the plain one, and against sampling written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from backbones import build_backbone
from backbones.layers.conv import conv_norm
from backbones.layers.deform import CONVS, DeformConv2d
from tests.backbones.networks import short, trained_looking


@pytest.mark.parametrize(("modulated", "share"), [(False, 1.0), (True, 0.5)])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 2, 1)])
def test_without_offsets_it_is_the_plain_convolution(modulated, share, stride, dilation, groups):
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    layer = DeformConv2d(4, 6, modulated=modulated, **options)
    x = torch.randn(2, 4, 9, 7)
    plain = F.conv2d(x, layer.weight, padding=dilation, **options)
    torch.testing.assert_close(layer(x), share * plain)


def test_offsets_are_rows_then_columns_of_each_tap():
    """Every tap looks one row down and two columns to the right: the image, shifted."""
    layer = DeformConv2d(1, 1, modulated=False)
    layer.conv_offset.bias.data = torch.tensor([1.0, 2.0] * 9)
    x = torch.randn(1, 1, 10, 12)
    shifted = F.conv2d(x, layer.weight, padding=1)[..., 1:, 2:]
    torch.testing.assert_close(layer(x)[..., 1:-2, 1:-3], shifted[..., 1:-1, 1:-1])


def test_a_mask_weighs_a_tap():
    """Every mask but the fourth tap's is nearly 0: what is left is that tap, at the left."""
    layer = DeformConv2d(1, 1)
    layer.conv_offset.bias.data[18:] = -40.0
    layer.conv_offset.bias.data[18 + 3] = 40.0
    x = torch.randn(1, 1, 6, 6)
    torch.testing.assert_close(layer(x)[..., 1:], layer.weight[0, 0, 1, 0] * x[..., :-1])


@pytest.mark.parametrize("kind", ["deformable_v1", "deformable_v2"])
def test_gradients_reach_the_offsets(kind):
    layer = CONVS[kind](3, 4)
    layer(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert layer.conv_offset.weight.grad.abs().sum() > 0
    assert layer.weight.grad.abs().sum() > 0


def test_gradients_are_those_of_finite_differences():
    layer = DeformConv2d(2, 2).double()
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.1)
    layer.conv_offset.bias.data.uniform_(0.1, 0.4)  # away from the kinks of the interpolation
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_fixed_statistics_are_folded_into_it():
    layer, norm = DeformConv2d(3, 4), trained_looking(torch.nn.BatchNorm2d(4))
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.3)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(conv_norm(layer, norm, x), norm(layer(x)))


def test_bfloat16_autocast_runs_and_stays_close():
    layer = DeformConv2d(8, 8)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.05)
    x = torch.randn(2, 8, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    assert low.dtype is torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("name", "convs"), [("resnet50", 1), ("resnet18", 2), ("resnetv2_18", 2)])
def test_any_stage_of_any_variant_takes_them(name, convs, version):
    backbone = short(name, deformable=["c3", "c4"], deformable_version=version)
    found = [k for k in backbone.state_dict() if k.endswith("conv_offset.weight")]
    assert [key.split(".")[0] for key in found] == ["layer2"] * convs + ["layer3"] * convs
    sum(x.mean() for x in backbone(torch.rand(2, 3, 64, 64)).values()).backward()
    offsets = [p for k, p in backbone.named_parameters() if "conv_offset" in k]
    assert all(p.grad is not None for p in offsets)


def test_plain_weights_begin_undeformed(save):
    plain = build_backbone("resnet18").eval()
    options = {"deformable": ["c4"], "deformable_version": 1, "conventions": "imagenet"}
    ours = build_backbone("resnet18", weights=save(plain.state_dict()), **options).eval()
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), plain(x))
    assert "c4     30 of   38 tensors" in ours.provenance
