"""timm's models: options, refusals, weights; and our features in timm's shape."""

import pytest
import timm
import torch
from torch import nn

from backbones import build_backbone
from tests.backbones.errors import refuses

OTHERS = ["hardcorenas_a", "lcnet_050", "mobilenetv4_conv_small"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", *SLOW])
def test_dilation_is_that_of_timms_own_features(name, stride):
    """smp's ``tu-`` encoders are these."""
    torch.manual_seed(0)
    backbone = build_backbone(f"timm/{name}", output_stride=stride).eval()
    theirs = timm.create_model(name, features_only=True, output_stride=stride).eval()
    own = backbone.file_state()
    theirs.load_state_dict({key: own[key] for key in theirs.state_dict()})
    image = torch.rand(1, 3, 64, 96)
    for (key, got), expected in zip(backbone(image).items(), theirs(image), strict=True):
        torch.testing.assert_close(got, expected)
        assert 64 // got.shape[2] == backbone.strides[key]
    assert list(backbone.strides.values()) == [min(s, stride) for s in (2, 4, 8, 16, 32)]


def test_stages_are_named_by_stride_where_there_are_gaps():
    vit = build_backbone("timm/test_vit", weights="random", freeze=2)
    assert list(vit.channels) == ["c4"]
    assert [bool(stage) for stage in vit.stages()] == [True, False, False, True]
    names = {id(p): name for name, p in vit.named_parameters()}
    stem, body = ({names[id(p)] for m in vit.stages()[k] for p in m.parameters()} for k in (0, 3))
    assert any("patch_embed" in name for name in stem)
    assert not any("blocks" in name for name in stem)
    assert {name.split(".")[2] for name in body if "blocks" in name} == set("012345")
    assert vit.frozen == 2
    assert {name for name, p in vit.named_parameters() if p.requires_grad} == body
    assert not any(p.requires_grad for p in vit.freeze(4).parameters())
    with refuses(r"freeze takes 0 to 4 stages, got 5"):
        vit.freeze(5)


def test_a_transformer_takes_images_of_any_size():
    vit = build_backbone("timm/test_vit").eval()
    assert vit(torch.rand(1, 3, 96, 64))["c4"].shape[2:] == (6, 4)
    plain = timm.create_model("test_vit", num_classes=0).eval()
    plain.load_state_dict({**plain.state_dict(), **vit.file_state()}, strict=True)
    image = torch.rand(1, *vit.net.pretrained_cfg["input_size"])
    expected = plain.forward_intermediates(image, indices=1, intermediates_only=True)[0]
    torch.testing.assert_close(vit(image)["c4"], expected)


def test_fixed_statistics_are_those_of_the_batch_norms(image):
    plain = build_backbone("timm/test_byobnet")
    plain(image)  # moves the statistics
    plain.eval()
    fixed = build_backbone("timm/test_byobnet", weights="random", norm="frozen_batch")
    state = {k: v for k, v in plain.state_dict().items() if not k.endswith("batches_tracked")}
    fixed.load_state_dict(state, strict=True)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in fixed.modules())
    fixed.eval()
    torch.testing.assert_close(fixed(image), plain(image), rtol=1e-4, atol=1e-4)
    before = {k: v.clone() for k, v in fixed.named_buffers()}
    fixed.train()(image)
    assert all(torch.equal(v, before[k]) for k, v in fixed.named_buffers())


def test_stochastic_depth_is_timms():
    backbone = build_backbone("timm/regnety_002", drop_path=0.2)
    theirs = timm.create_model("regnety_002", drop_path_rate=0.2)

    def rates(model):
        return [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")]

    assert rates(backbone) == rates(theirs)
    assert max(rates(backbone)) == pytest.approx(0.2)


def test_conventions_are_timms():
    name = "tf_mobilenetv3_small_minimal_100"  # TensorFlow's epsilon, and its mean and std
    backbone = build_backbone(f"timm/{name}", out_features=["c1"])
    expected = timm.get_pretrained_cfg(name)
    assert backbone.conventions.mean == expected.mean
    assert backbone.conventions.std == expected.std
    assert backbone.conventions.epsilon == 1e-3
    backbone.adopt(build_backbone("resnet18").conventions)
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert backbone.conventions.epsilon == 1e-3


BUILT = "cannot be built"
REFUSED = [
    ("resnet81", {}, r"unknown backbone 'timm/resnet81'; did you mean 'timm/resnet\d+'\? timm"),
    ("resnet18.a9_in1k", {}, r"unknown tag of timm/resnet18 'a9_in1k'; did you mean 'a\d_in1k'"),
    ("vit_small_patch14_dinov2", {}, f"^timm/vit.* {BUILT}: it has a feature of stride 14; feat"),
    ("tresnet_m", {}, rf"^timm/tresnet_m {BUILT}: its feature c1 has a stride of 4\."),
    ("ghostnet_050", {"output_stride": 16}, f"^timm/ghostnet_050 {BUILT} with output_stride=16"),
    ("vgg11", {"drop_path": 0.2}, f"^timm/vgg11 {BUILT} with .*'drop_path_rate': 0.2"),
    ("test_resnet", {"norm": "group"}, "^timm/test_resnet comes with its own norms: norm takes 'b"),
    (
        "test_convnext",
        {"norm": "frozen_batch"},
        "^timm/test_convnext has no batch norm that norm='",
    ),
    (
        "test_resnet",
        {"init": "he_scaled"},
        "^timm/test_resnet draws its weights itself and has its",
    ),
    ("test_resnet", {"deformable": ["c5"]}, "^timm/test_resnet draws its weights itself and has"),
]
EACH = "out_features takes one or more of c2, c3, c4, c5, each once, got"
WRONG = [
    (["c1"], "unknown feature 'c1'; Known: c2, c3"),
    (["c9"], "unknown feature 'c9'; Known: c2, c3"),
    (["c2", "c2"], EACH),
    ([], EACH),
]
REFUSED += [("test_convnext", {"out_features": names}, f"{BUILT}: {m}") for names, m in WRONG]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_what_cannot_be_built_is_refused(name, options, message):
    with refuses(message):
        build_backbone(f"timm/{name}", **{"weights": "random", **options})
