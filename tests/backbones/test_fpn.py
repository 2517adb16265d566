"""The pyramid; torchvision's is the oracle, with the same weights."""

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from backbones import FPN, BackboneWithFPN, build_backbone
from tests.backbones.errors import refuses
from tests.backbones.networks import trained_looking

CHANNELS = {"c2": 8, "c3": 12, "c4": 16, "c5": 20}
WIDTH = 6


def features(height, width):
    """Random maps of an image of that size, rounded up at every stride as a ResNet does."""
    return {
        name: torch.randn(2, channels, -(-height // stride), -(-width // stride))
        for (name, channels), stride in zip(CHANNELS.items(), (4, 8, 16, 32), strict=True)
    }


def theirs(norm, extra):
    extras = {"none": None, "pool": LastLevelMaxPool(), "conv": LastLevelP6P7(WIDTH, WIDTH)}
    norms = {"none": None, "batch": nn.BatchNorm2d}
    widths = list(CHANNELS.values())
    return FeaturePyramidNetwork(widths, WIDTH, extras[extra], norms[norm])


LEVELS = {
    "none": ["p2", "p3", "p4", "p5"],
    "pool": ["p2", "p3", "p4", "p5", "p6"],
    "conv": ["p2", "p3", "p4", "p5", "p6", "p7"],
}


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (75, 33)], ids=str)
@pytest.mark.parametrize("extra", LEVELS)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_torchvisions_weights_give_torchvisions_levels(norm, extra, size):
    reference = trained_looking(theirs(norm, extra))
    for module in reference.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias)
    ours = FPN(CHANNELS, out_channels=WIDTH, norm=norm, extra=extra)
    ours.load_state_dict(reference.state_dict(), strict=True)
    maps = features(*size)
    found = ours.eval()(maps)
    assert list(found) == ours.levels == LEVELS[extra]
    torch.testing.assert_close([*found.values()], [*reference(maps).values()])


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_gradients_are_torchvisions(norm):
    reference = theirs(norm, "conv")
    ours = FPN(CHANNELS, out_channels=WIDTH, norm=norm, extra="conv")
    ours.load_state_dict(reference.state_dict(), strict=True)
    maps = features(65, 97)
    for model in (ours, reference):
        sum(x.square().mean() for x in model(maps).values()).backward()
    expected = {name: p.grad for name, p in reference.named_parameters()}
    torch.testing.assert_close({n: p.grad for n, p in ours.named_parameters()}, expected)


def test_every_level_has_the_strides_of_its_name():
    levels = FPN(CHANNELS, out_channels=WIDTH, extra="conv")(features(256, 128))
    sizes = {name: tuple(level.shape[1:]) for name, level in levels.items()}
    assert sizes == {f"p{k}": (WIDTH, 256 // 2**k, 128 // 2**k) for k in range(2, 8)}
    assert FPN(CHANNELS).out_channels == 256


def test_features_are_taken_by_name_not_by_position():
    fpn = FPN(CHANNELS, out_channels=WIDTH)
    maps = features(64, 64)
    shuffled = {name: maps[name] for name in ("c5", "c2", "c4", "c3")} | {"c1": torch.zeros(1)}
    torch.testing.assert_close(fpn(shuffled), fpn(maps), rtol=0, atol=0)


def test_a_pyramid_may_stand_on_some_features_only():
    fpn = FPN({"c3": 12, "c5": 20}, out_channels=WIDTH, extra="pool")
    sizes = {name: tuple(x.shape[2:]) for name, x in fpn(features(64, 128)).items()}
    assert sizes == {"p3": (8, 16), "p5": (2, 4), "p6": (1, 2)}


def test_it_starts_as_torchvisions_uniform_within_its_bound_and_no_bias():
    fpn = FPN(CHANNELS, out_channels=64, extra="conv")
    for module in (m for m in fpn.modules() if isinstance(m, nn.Conv2d)):
        fan_in = module.in_channels * module.kernel_size[0] ** 2
        bound = (3 / fan_in) ** 0.5  # kaiming_uniform_ with a=1: sqrt(6 / ((1 + a**2) * fan_in))
        assert 0.9 * bound < module.weight.abs().max() <= bound
        assert module.bias.eq(0).all()


@pytest.mark.parametrize("norm", ["batch", "frozen_batch", "group", "instance", "layer2d", "none"])
def test_every_norm_runs_forward_and_backward(norm):
    fpn = FPN(CHANNELS, out_channels=WIDTH, norm=norm, extra="conv")
    sum(x.square().mean() for x in fpn(features(128, 128)).values()).backward()
    assert all(p.grad.isfinite().all() for p in fpn.parameters())


@pytest.mark.parametrize("frozen", [0, 2])
def test_gradients_reach_the_body_below_the_pyramid_down_to_what_is_frozen(frozen):
    names = ["c2", "c3", "c4", "c5"]
    body = build_backbone("resnet18", weights="random", out_features=names, freeze=frozen)
    model = BackboneWithFPN(body, FPN(body.channels, out_channels=WIDTH)).train()
    assert model.out_channels == WIDTH
    levels = model(torch.rand(2, 3, 64, 64))
    assert {k: tuple(v.shape) for k, v in levels.items()} == {
        f"p{k}": (2, WIDTH, 64 // 2**k, 64 // 2**k) for k in range(2, 7)
    }
    sum(x.square().mean() for x in levels.values()).backward()

    without = {n for n, p in model.named_parameters() if p.grad is None}
    prefixes = ("body.conv1.", "body.bn1.", "body.layer1.") if frozen else ("nothing",)
    assert without == {n for n, _ in model.named_parameters() if n.startswith(prefixes)}


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        ({}, {}, r"^FPN takes one or more features named c\{k\}, finest first, .* got \[\];"),
        ({"c3": 8, "c2": 8}, {}, r"finest first, such as c2, c3, got \['c3', 'c2'\];"),
        ({"layer1": 8}, {}, r"features named c\{k\}.* got \['layer1'\];"),
        (CHANNELS, {"extra": "pol"}, "unknown extra levels 'pol'; did you mean 'pool'"),
        (CHANNELS, {"norm": "bacth"}, "unknown norm 'bacth'; did you mean 'batch'"),
    ],
)
def test_bad_options_are_refused(channels, options, message):
    with refuses(message):
        FPN(channels, **options)


@pytest.mark.parametrize("channels", [{"c2": 64, "c3": 128}, {"c2": 65}])
def test_a_pyramid_made_for_another_backbone_is_refused(channels):
    body = build_backbone("resnet18", out_features=["c1", "c2"])
    with refuses(r"^the FPN takes \{'c2'.*the backbone returns \{'c1': 64"):
        BackboneWithFPN(body, FPN(channels, out_channels=WIDTH))
