"""What timm does not have, against networks written here from the papers, and by hand."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision

from backbones import build_backbone
from backbones.resnet.model import ResNet
from backbones.resnet.shortcut import ZeroPadShortcut, mean_pool
from backbones.resnet.variants import VARIANTS
from tests.backbones.errors import refuses
from tests.backbones.networks import close, features_of, on_meta, trained_looking, without


def normed(state, key, x):
    """A batch norm in eval mode, from a state dict."""
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{key}.{name}"] for name in names))


def test_caffes_stride_is_in_the_first_convolution():
    theirs = trained_looking(torchvision.models.resnet50(weights=None))
    ours = build_backbone("resnet50_caffe").eval()
    ours.load_state_dict(without(theirs.state_dict(), "fc."))
    for layer in (theirs.layer2, theirs.layer3, theirs.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    image = torch.rand(1, 3, 64, 96)
    close(ours(image), features_of(theirs, image))
    assert ours.stride_in_1x1 is True
    assert build_backbone("resnet50", out_features=["c2"]).stride_in_1x1 is False
    assert build_backbone("resnet18", out_features=["c2"]).stride_in_1x1 is None


def test_shortcut_a_is_a_subsampled_input_and_zeros():
    x = torch.rand(2, 3, 5, 7)
    expected = torch.zeros(2, 8, 3, 4)
    for row in range(3):
        for column in range(4):
            expected[:, :3, row, column] = x[:, :, 2 * row, 2 * column]
    torch.testing.assert_close(ZeroPadShortcut(5, stride=2)(x), expected, rtol=0, atol=0)


def test_the_mean_of_resnet_d_counts_only_what_is_there():
    x = torch.tensor([[[[1.0, 3.0, 5.0], [3.0, 5.0, 7.0], [2.0, 4.0, 9.0]]]])
    torch.testing.assert_close(mean_pool(2)(x), torch.tensor([[[[3.0, 6.0], [3.0, 9.0]]]]))
    assert mean_pool(1)(x)[0, 0, 0].tolist() == [3.0, 5.0, 3.0]  # the edge is averaged with zeros


@pytest.mark.parametrize(
    ("shortcut", "projections"), [("_zero_pad", 0), ("", 3), ("_projection", 16)], ids=list("ABC")
)
def test_shortcuts_project_nowhere_between_stages_or_in_every_block(shortcut, projections):
    keys = on_meta(build_backbone, f"resnet34{shortcut}").state_dict()
    assert sum(key.endswith("downsample.0.weight") for key in keys) == projections
    assert any("downsample" in key for key in keys) == bool(projections)


@torch.no_grad()
def test_a_cifar_network_is_the_papers():
    """arXiv:1512.03385, section 4.2: a 3x3 stem, 6n layers, shortcut A."""
    backbone = trained_looking(build_backbone("resnet20_cifar"))
    state, image = backbone.state_dict(), torch.rand(2, 3, 32, 32)
    x = F.relu(normed(state, "bn1", F.conv2d(image, state["conv1.weight"], padding=1)))
    for stage in range(1, 4):
        for block in range(3):
            key, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{key}.conv1.weight"], stride=stride, padding=1)
            y = F.relu(normed(state, f"{key}.bn1", y))
            y = F.conv2d(y, state[f"{key}.conv2.weight"], padding=1)
            y = normed(state, f"{key}.bn2", y)
            skip = x[..., ::stride, ::stride]
            zeros = y.new_zeros(2, y.shape[1] - x.shape[1], *y.shape[-2:])
            x = F.relu(y + torch.cat([skip, zeros], dim=1))
    torch.testing.assert_close(backbone(image)["c4"], x, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_wide_resnet_is_the_papers():
    """arXiv:1605.07146, table 1: pre-activated 3x3 pairs; a projection sees the activated input."""
    backbone = trained_looking(build_backbone("wrn_40_4"))
    state, image = backbone.state_dict(), torch.rand(1, 3, 16, 16)
    found = backbone(image)
    x = F.conv2d(image, state["conv1.weight"], padding=1)
    for stage in range(1, 4):
        for block in range(6):
            key, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            active = F.relu(normed(state, f"{key}.norm1", x))
            y = F.conv2d(active, state[f"{key}.conv1.weight"], stride=stride, padding=1)
            y = F.relu(normed(state, f"{key}.norm2", y))
            y = F.conv2d(y, state[f"{key}.conv2.weight"], padding=1)
            if block == 0:
                x = F.conv2d(active, state[f"{key}.downsample.0.weight"], stride=stride)
            x = x + y
        expected = F.relu(normed(state, f"norms.c{stage + 1}", x))
        torch.testing.assert_close(found[f"c{stage + 1}"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "res2net50_26w_4s", "resnetv2_18"])
@pytest.mark.parametrize(("init", "scale"), [("he", 1.0), ("zero_last", 0.0), ("scaled", 0.5**0.5)])
def test_initialisations_set_what_ends_a_residual_branch(name, init, scale):
    blocks = []
    for way in ("he", init):
        torch.manual_seed(0)
        blocks.append(build_backbone(name, init=way, out_features=["c2"]).layer1[0].eval())
    x = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(blocks[1].residual(x), scale * blocks[0].residual(x))


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "frozen_batch", "none"])
def test_the_deepest_network_does_not_overflow_as_drawn(norm):
    torch.manual_seed(0)
    backbone = build_backbone("resnetv2_1001_cifar", weights="random", norm=norm).eval()
    for name, feature in backbone(torch.randn(1, 3, 32, 32)).items():
        assert 0.1 < feature.abs().max() < 10, name


def test_he_initialisation_has_the_variance_of_the_fan_out():
    weight = build_backbone("resnet18").layer4[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)


def test_stochastic_depth_leaves_a_sample_its_shortcut():
    block = build_backbone("resnet18", drop_path=0.9).layer4[1].train()
    x = torch.rand(64, 512, 2, 2)
    skipped = (block(x) == x).flatten(1).all(1)
    assert 0.7 < skipped.float().mean() < 1.0  # 58 of 64 expected; a shortcut alone is relu(x) = x
    assert not (block.eval()(x) == x).flatten(1).all(1).any()


def test_basic_blocks_refuse_groups():
    with refuses(r"BasicBlock takes groups=1 .* got groups=32 and"):
        ResNet(replace(VARIANTS["resnet18"], groups=32))
    with refuses(r"PreActBasic takes groups=1"):
        ResNet(replace(VARIANTS["resnetv2_18"], groups=32))
    with refuses(r"block takes projections, got 'average'"):
        ResNet(replace(VARIANTS["resnetv2_18"], shortcut="average"))
