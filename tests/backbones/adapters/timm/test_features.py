"""Our features in timm's shape: the named modules are the features, the settings timm's."""

from functools import partial

import pytest
import timm
import torch

from backbones import build_backbone, list_backbones
from backbones.adapters.timm import TimmFeatures
from tests.backbones.adapters.timm_models import FAMILIES, ONE_SIZE
from tests.backbones.networks import short

slow = partial(pytest.param, marks=pytest.mark.slow)
QUICK = ["resnet18", "resnetv2_18", "resnet20_cifar", "timm/test_convnext", "timm/test_vit"]
PLAIN = ["resnet18", "resnet18d", "resnetv2_18", "resnet20_cifar", "resnetv2_110_cifar"]
OURS = [*PLAIN, "dynamic_resnet18", "res2net50_26w_4s"]
ALL = [name for name in list_backbones() if "1001" not in name]
ALL += [f"timm/{name}" for name in ("resnet18", *FAMILIES) if name != "vgg11"]
SLOW = [slow(name) for name in ALL if name not in QUICK]


def keep_copy(seen, path, _module, _inputs, output):
    seen[path] = output.clone()  # as it is now: it may be written to


def test_our_features_have_timms_shape(image):
    backbone = build_backbone("resnet18").eval()
    ours = TimmFeatures(backbone).eval()
    theirs = timm.create_model("resnet18", features_only=True).eval()
    theirs.load_state_dict(backbone.state_dict(), strict=True)
    for own, expected in zip(ours(image), theirs(image), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    assert set(ours.state_dict()) == {f"backbone.{key}" for key in backbone.state_dict()}
    features = [ours.get_submodule(name) for name in ours.feature_info.module_name()]
    assert features[1:] == [getattr(backbone, f"layer{k}") for k in range(1, 5)]


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
@torch.no_grad()
def test_the_named_module_returns_the_feature(name):
    torch.manual_seed(0)
    backbone = (short if name in OURS else build_backbone)(name)
    for mode in (False, True):
        model = TimmFeatures(backbone).train(mode)
        seen = {}
        for path in model.feature_info.module_name():
            model.get_submodule(path).register_forward_hook(partial(keep_copy, seen, path))
        side = 96 if "inception" in name else 64
        if name.removeprefix("timm/") in ONE_SIZE:
            side = model.default_cfg["input_size"][1]
        features = model(torch.rand(2, 3, side, side))
        for path, feature in zip(model.feature_info.module_name(), features, strict=True):
            assert torch.equal(seen[path], feature), path


def test_modules_keep_their_own_names_where_they_are_the_feature():
    model = TimmFeatures(build_backbone("timm/resnet18"))
    assert model.feature_info.module_name() == [
        "backbone.net.act1",
        *(f"backbone.net.layer{k}" for k in range(1, 5)),
    ]
    assert not model.taps


THREE = "resnet18", "timm/test_vit", "timm/test_efficientnet"
READ = [("resnet18", 1), ("timm/test_vit", 4), ("timm/test_efficientnet", 1)]
READ += [("timm/test_efficientnet", 3)]
READ += [slow(n, channels) for n in THREE for channels in (1, 3, 4) if (n, channels) not in READ]


@pytest.mark.parametrize(("name", "channels"), READ)
def test_timms_tools_find_what_they_read(name, channels):
    backbone = build_backbone(name, in_channels=channels)
    model = TimmFeatures(backbone)
    assert model.default_cfg == model.pretrained_cfg
    config = timm.data.resolve_data_config(model=model)
    assert config["mean"] == backbone.conventions.mean
    assert config["std"] == backbone.conventions.std
    assert len(backbone.conventions.mean) == channels == config["input_size"][0]
    first = model.get_submodule(model.default_cfg["first_conv"])
    assert first.weight.shape[1] == channels
    assert len(model(torch.rand(2, channels, 64, 64))) == len(backbone.channels)
    timm.data.create_transform(**{**config, "input_size": (channels, 32, 32)})
    if name.startswith("timm/"):
        theirs = timm.get_pretrained_cfg(name.removeprefix("timm/"))
        assert config["crop_pct"] == theirs.crop_pct
        assert config["interpolation"] == theirs.interpolation
        assert config["input_size"][1:] == theirs.input_size[1:]
