"""Folded norms against the formula, against torch's own fusion, and against eager networks."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, StdConv2d
from timm.layers.norm_act import FrozenBatchNormAct2d
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torchvision.models.detection import (
    fcos_resnet50_fpn,
    retinanet_resnet50_fpn,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops import FrozenBatchNorm2d

from backbones import FPN, BackboneWithFPN, build_backbone, fuse, list_backbones
from backbones.layers.deform import DeformConv2d
from tests.backbones.errors import refuses
from tests.backbones.networks import short

KINDS = [nn.modules.batchnorm._NormBase, FrozenBatchNorm2d, FrozenBatchNormAct2d]


def trained(module, *, seed=0):
    """Return a module in eval mode whose norms have random scales, shifts and statistics."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if getattr(norm, "running_var", None) is not None:
            for name, low, high in [
                *(("weight", 0.5, 1.0), ("bias", -0.3, 0.3)),
                *(("running_mean", -0.3, 0.3), ("running_var", 0.5, 1.5)),
            ]:
                if (tensor := getattr(norm, name)) is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return module.eval()


def norms_in(module):
    return [name for name, m in module.named_modules() if isinstance(m, tuple(KINDS))]


def flat(outputs):
    """Return the tensors of an output: one, a sequence, or a dictionary."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [*outputs.values()] if isinstance(outputs, dict) else [*outputs]


@torch.no_grad()
def difference(module, fused, *inputs):
    """Return the largest difference of outputs, each relative to the largest value of eager's."""
    pairs = zip(flat(module(*inputs)), flat(fused(*inputs)), strict=True)
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)


def test_the_formula_of_the_founding_document():
    """Weight 2, bias 0.5; gamma 3, beta 0.25, mean 1, variance 3, epsilon 1: a scale of 3 / 2."""
    pair = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1.0))
    values = {"0.weight": 2.0, "0.bias": 0.5, "1.weight": 3.0, "1.bias": 0.25}
    values |= {"1.running_mean": 1.0, "1.running_var": 3.0}
    for name, tensor in pair.state_dict().items():
        tensor.fill_(values.get(name, 0))
    fused = fuse(pair)
    assert fused.state_dict().keys() == {"0.weight", "0.bias"}
    assert fused[0].weight.item() == 3.0  # 2 * 3 / sqrt(3 + 1)
    assert fused[0].bias.item() == -0.5  # 0.25 + (0.5 - 1) * 3 / sqrt(3 + 1)


PAIRS = {
    "1d": (nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)),
    "2d": (nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6, eps=0.1)),
    "3d": (nn.Conv3d(4, 6, (1, 2, 3), padding=1), nn.BatchNorm3d(6)),
    "groups, dilation, stride": (
        nn.Conv2d(4, 6, 3, groups=2, dilation=(2, 1), stride=2, padding="valid"),
        nn.BatchNorm2d(6),
    ),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(6)),
    "not affine": (nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, affine=False)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6)),
    "linear": (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)),
}
OTHERS = {
    "grouped transposed": (nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)),
    "sync": (nn.Conv2d(4, 6, 3), nn.SyncBatchNorm(6)),
    "frozen": (nn.Conv2d(4, 6, 3), FrozenBatchNorm2d(6)),
    "tracking": (nn.Conv2d(4, 6, 3), nn.InstanceNorm2d(6, affine=True, track_running_stats=True)),
    "deformable": (DeformConv2d(4, 6, stride=2), nn.BatchNorm2d(6)),
    "activation": (nn.Conv2d(4, 6, 3), BatchNormAct2d(6)),
    "frozen activation": (nn.Conv2d(4, 6, 3), FrozenBatchNormAct2d(6)),
}


def example(convolution):
    if isinstance(convolution, nn.Linear):
        return torch.randn(5, 4)
    return torch.randn(2, 4, *(7 for _ in convolution.kernel_size))


@pytest.mark.parametrize("name", {**PAIRS, **OTHERS})
def test_a_pair_becomes_one_convolution_of_the_same_function(name):
    pair = trained(nn.Sequential(*copy.deepcopy({**PAIRS, **OTHERS}[name])))
    if name == "deformable":
        nn.init.normal_(pair[0].conv_offset.weight)
    fused = fuse(pair)
    assert not norms_in(fused)
    assert {key.partition(".")[0] for key in fused.state_dict()} == {"0"}
    x = example(pair[0])
    torch.testing.assert_close(fused(x), pair(x))


@pytest.mark.parametrize("name", PAIRS)
def test_weights_are_those_of_torchs_own_fusion(name):
    convolution, norm = trained(nn.Sequential(*copy.deepcopy(PAIRS[name])))
    if name == "linear":
        expected = fuse_linear_bn_eval(convolution, norm)
    else:
        expected = fuse_conv_bn_eval(convolution, norm, transpose=name == "transposed")
    fused = fuse(nn.Sequential(convolution, norm))[0]
    torch.testing.assert_close(fused.state_dict(), expected.state_dict())


def test_an_activation_in_the_norm_keeps_its_parameters_and_their_names():
    pair = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4, act_layer=nn.PReLU))
    nn.init.constant_(trained(pair)[1].act.weight, 0.5)
    fused = fuse(pair)
    assert fused.state_dict().keys() == {"0.weight", "0.bias", "1.act.weight"}
    torch.testing.assert_close(fused(torch.ones(1, 3, 2, 2)), pair(torch.ones(1, 3, 2, 2)))


class Net(nn.Module):
    """Two convolutions and a norm, joined by a function of theirs and of the input."""

    def __init__(self, join):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.join = nn.BatchNorm2d(3), join

    def forward(self, x):
        return self.join(self, x)


def also_returned(net, x):
    y = net.first(x)
    return net.norm(y) + y


def of_two(net, x):
    return net.norm(net.first(x)) - net.norm(net.second(x))


def also_elsewhere(net, x):
    return net.norm(net.first(x)) - net.second(net.first(x))


def after_a_sum(net, x):
    return net.norm(net.first(x) + net.second(x))


def before(net, x):
    return net.first(net.norm(x).relu())


def after_an_activation(net, x):
    return net.norm(net.first(x).relu())


def weight_read(net, x):
    return net.norm(net.first(x)) + F.conv2d(x, net.first.weight)


def written_to(net, x):
    y = net.first(x)
    z = net.norm(y)
    return y.mul_(2) + z


@pytest.mark.parametrize(
    "join",
    [
        *(also_returned, of_two, also_elsewhere, after_a_sum, before, after_an_activation),
        *(weight_read, written_to),
    ],
)
def test_a_norm_that_is_not_alone_after_a_convolution_stays(join):
    net, x = trained(Net(join)), torch.randn(2, 3, 4, 4)
    fused = fuse(net)
    assert fused.state_dict().keys() == net.state_dict().keys()
    torch.testing.assert_close(fused(x), net(x))


def shared(net, x):
    return net.norm(net.first(net.norm(net.first(x))))


def test_a_pair_that_is_called_twice_is_folded():
    net, x = trained(Net(shared)), torch.randn(2, 3, 4, 4)
    fused = fuse(net)
    assert not norms_in(fused)
    torch.testing.assert_close(fused(x), net(x))


class Block(nn.Module):
    """A convolution, and its norm if it is asked for."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x, norm=True):
        y = self.conv(x)
        return self.norm(y) if norm else y


def in_halves(net, x):
    return net.body(x) + net.body[0](x) + net.block(x)


def with_other_arguments(net, x):
    return net.body(x) + net.block(x, norm=False)


def with_a_weight(net, x):
    return net.body(x) + F.conv2d(x, net.block.conv.weight)


def as_they_are(net, x):
    return net.block(net.body(x))


class OfData(nn.Module):
    """Depends on values, so that torch.fx cannot follow it; its parts do not."""

    def __init__(self, join):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.block, self.join = Block(), join

    def forward(self, x):
        y = self.join(self, x)
        return y if bool((x > 0).all()) else -y


@pytest.mark.parametrize("join", [in_halves, with_other_arguments, with_a_weight, as_they_are])
def test_the_norms_inside_what_torch_fx_cannot_follow_are_refused_or_kept(join):
    net, x = trained(OfData(join)), torch.randn(2, 3, 4, 4)
    why = r"\(BatchNorm2d, in a module that torch.fx cannot follow\)"
    for whole in (net, nn.Sequential(nn.ReLU(), net)):
        with refuses(rf"norms: [1.]*body.1 {why}, [1.]*block.norm {why}; give"):
            fuse(whole)
        fused = fuse(whole, other_norms="keep")
        assert norms_in(fused) == norms_in(whole)
        torch.testing.assert_close(fused(x), whole(x), rtol=0, atol=0)


@pytest.mark.parametrize(("end", "reason"), [(2, "inner.body.1"), (1, "norm")])
def test_a_part_that_is_called_from_two_sides_is_kept(end, reason):
    """The root, which torch.fx follows, takes the convolution of a block that it cannot follow."""

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm = OfData(as_they_are), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.inner.body[:end](x)) + self.inner(x)

    net, x = trained(Around()), torch.randn(2, 3, 4, 4)
    with refuses(rf"\b{reason} \(BatchNorm2d, in a module that torch.fx cannot follow"):
        fuse(net)
    torch.testing.assert_close(fuse(net, other_norms="keep")(x), net(x), rtol=0, atol=0)


def test_a_forward_of_the_instance_is_not_that_of_the_class():
    net, x = trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))), torch.randn(2, 3, 4, 4)
    net.forward = lambda x: net[0](x) + net[1](net[0](x))
    with refuses("norms: 1 .BatchNorm2d, in a module that torch.fx cannot follow"):
        fuse(net)
    torch.testing.assert_close(fuse(net, other_norms="keep")(x), net(x))


@pytest.mark.parametrize(("ends", "norms"), [((2, 2), []), ((2, 1), ["layers.1"])])
def test_slices_of_a_sequence_are_followed(ends, norms):
    """As in timm's VoVNet: a slice is a module of its own, which no other module holds."""

    class Slices(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())

        def forward(self, x):
            first, second = (self.layers[:end](x) for end in ends)
            return self.layers[2:](first) + second

    net, x = trained(Slices()), torch.randn(2, 3, 4, 4)
    fused = fuse(net)
    assert norms_in(fused) == norms
    torch.testing.assert_close(fused(x), net(x))


def test_what_a_forward_keeps_is_not_kept_of_the_search():
    """As torchvision's MultiScaleRoIAlign keeps its scales."""

    class Keeps(OfData):
        kept = None

        def forward(self, x):
            if self.kept is None:
                self.kept = x * 2
            return super().forward(x) + self.kept

    net, x = trained(Keeps(as_they_are)), torch.randn(2, 3, 4, 4)
    fused = fuse(net, other_norms="keep")
    torch.testing.assert_close(fused(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [ssdlite320_mobilenet_v3_large, retinanet_resnet50_fpn, fcos_resnet50_fpn]
)
def test_torchvisions_one_stage_detectors_are_fused(make):
    net = trained(make(weights=None, weights_backbone=None)).double()
    fused, x = fuse(net, other_norms="keep"), torch.rand(1, 3, 128, 128).double()
    assert not norms_in(fused)
    with torch.no_grad():
        features = list(net.backbone(x).values())
    for part, given in (("backbone", x), ("head", features)):
        assert difference(net.get_submodule(part), fused.get_submodule(part), given) < 1e-12


class OwnRCNN(GeneralizedRCNN):
    """Does more than torchvision's with a part of its backbone."""

    def eager_outputs(self, losses, detections):
        return self.backbone[0](losses), detections


@pytest.mark.parametrize(("kind", "norms"), [(GeneralizedRCNN, []), (OwnRCNN, ["backbone.1"])])
def test_the_children_of_a_known_class_are_followed_but_not_those_of_a_changed_one(kind, norms):
    body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    net = kind(body, nn.Identity(), nn.Identity(), nn.Identity()).eval()
    assert norms_in(fuse(net, other_norms="keep")) == norms


def test_a_scale_that_is_not_finite_is_refused_or_kept():
    net = trained(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, eps=0)))
    net[1].running_var[1] = 0
    with refuses(
        r"1 \(BatchNorm2d, whose scale is not finite: a variance of 0, or values that are"
    ):
        fuse(net)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(fuse(net, other_norms="keep")(x), net(x), equal_nan=True)


def hooked(_):
    norm = nn.BatchNorm2d(6)
    norm.register_forward_hook(lambda _module, _inputs, output: output * 2)
    return norm


class Doubled(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("convolution", "norm", "reason"),
    [
        (nn.Conv2d, partial(nn.InstanceNorm2d, affine=True), "InstanceNorm2d, which computes"),
        (nn.Conv2d, partial(nn.GroupNorm, 2), "GroupNorm, which computes"),
        (nn.Conv2d, partial(nn.LayerNorm, eps=1e-6), "LayerNorm, which computes"),
        (nn.Conv2d, partial(nn.RMSNorm, eps=1e-6), "RMSNorm, which computes"),
        (nn.Conv2d, partial(nn.BatchNorm2d, track_running_stats=False), "2d, which computes stat"),
        (nn.Conv2d, hooked, "BatchNorm2d, with hooks or a computation of its own"),
        (nn.Conv2d, Doubled, "Doubled, with hooks or a computation of its own"),
        (StdConv2d, nn.BatchNorm2d, "BatchNorm2d, with hooks or a computation of its own"),
    ],
)
def test_other_norms_are_refused_by_name_or_kept(convolution, norm, reason):
    net = nn.ModuleDict({"stem": nn.Sequential(convolution(3, 6, 6, stride=6), norm(6))}).eval()
    net["stem"].append(nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)).eval())
    with refuses(rf"^fuse cannot fold these norms: stem.1 \(.*{reason}.*\); give other_norms='k"):
        fuse(net)
    fused, x = fuse(net, other_norms="keep"), torch.randn(2, 3, 36, 36)
    assert type(fused["stem"][1]) is type(net["stem"][1])
    assert not norms_in(fused["stem"][2])
    torch.testing.assert_close(fused["stem"](x), net["stem"](x))


def test_many_norms_are_counted_and_another_choice_is_refused():
    net = nn.Sequential(*(nn.GroupNorm(1, 3) for _ in range(9)))
    with refuses(r": 0 \(.*\), 1 \(.*\), 2 \(.*\), 3 \(.*\) and 5 more; give"):
        fuse(net)
    with refuses("unknown treatment of other norms 'skip'"):
        fuse(net, other_norms="skip")


def test_a_convolution_whose_weight_is_computed_is_refused():
    weight_norm = parametrizations.weight_norm(nn.Conv2d(3, 6, 1))
    with refuses(r"1 \(BatchNorm2d, with hooks or a computation of its own\)"):
        fuse(nn.Sequential(weight_norm, nn.BatchNorm2d(6)))


def test_the_original_stays_and_the_copy_is_in_eval_mode():
    network = short("resnet18").train().freeze(2)
    before = copy.deepcopy(network.state_dict())
    fused = fuse(network)
    assert network.training
    assert not any(m.training for m in fused.modules())
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert fused.frozen == 2
    assert all(p.requires_grad for m in fused.stages()[2] for p in m.parameters())
    weight = network.layer1[0].conv1.weight.contiguous(memory_format=torch.channels_last)
    network.layer1[0].conv1.weight.data = weight
    folded = fuse(network).layer1[0].conv1.weight
    assert folded.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        *((name, 0) for name in ("resnet18", "resnet50", "resnet18d", "resnext50_32x4d")),
        *((name, 0) for name in ("seresnet50", "cbam_resnet50", "ecaresnet50d", "resnet20_cifar")),
        *((name, 0) for name in ("res2net50_26w_4s", "resnet34_zero_pad", "dynamic_resnet18")),
        ("resnetv2_18", 10),  # the first norm of its 5 blocks, and that of each feature
    ],
)
def test_a_fused_backbone_has_the_features_and_the_interface_of_eager(name, norms):
    network = trained(short(name))
    fused = fuse(network)
    assert difference(network, fused, torch.rand(2, 3, 64, 64)) < 1e-5
    assert len(norms_in(fused)) == norms
    kept = {k.rpartition(".")[0] for k in network.state_dict()} - {*norms_in(network)}
    kept |= {*norms_in(fused)}
    assert {key.rpartition(".")[0] for key in fused.state_dict()} == kept
    for of in ("channels", "strides", "conventions", "frozen"):
        assert getattr(fused, of) == getattr(network, of)
    assert [len(s) for s in fused.stages()] == [len(s) for s in network.stages()]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in list_backbones() if "/" not in n])
def test_every_fused_backbone_is_eager(name):
    network = trained(build_backbone(name))
    fused = fuse(network)
    assert difference(network, fused, torch.rand(2, 3, 64, 64)) < 2e-5
    first = {n for n in norms_in(network) if "norm1" in n or n.startswith("norms.")}
    assert {*norms_in(fused)} == first


def test_a_pyramid_and_deformable_stages_are_fused():
    body = short("resnet18", deformable=["c4", "c5"], out_features=["c4", "c5"])
    network = trained(BackboneWithFPN(body, FPN(body.channels, out_channels=16, norm="batch")))
    fused = fuse(network)
    assert not norms_in(fused)
    assert difference(network, fused, torch.rand(2, 3, 64, 64)) < 1e-5


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    "name", ["resnet18d", pytest.param("dynamic_resnet18", marks=pytest.mark.slow)]
)
def test_autocast_export_and_trace(name):
    network, image = trained(short(name)), torch.rand(2, 3, 64, 64)
    fused = fuse(network)
    exported = torch.export.export(fused, (image,), strict=False).module()
    assert difference(network, exported, image) < 1e-5
    with torch.no_grad():
        traced = torch.jit.trace(fused, image, strict=False)
    assert difference(network, traced, image) < 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        assert difference(network, fused, image) < 0.05  # bfloat16 has 8 bits
