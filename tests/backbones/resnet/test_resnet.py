import pytest
import torch
import torchvision

from backbones import build_backbone
from backbones.resnet.variants import VARIANTS
from tests.backbones.networks import close, features_of, on_meta, short, without

TORCHVISIONS = [name for name in VARIANTS if name in torchvision.models.list_models()]
LARGE = [n for n in TORCHVISIONS if "101" in n or "152" in n or n.startswith("wide")]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in TORCHVISIONS]
)
def test_torchvision_weights_give_torchvision_features_and_logits(name):
    theirs = torchvision.models.get_model(name, weights=None).eval()
    ours = on_meta(build_backbone, name).eval()  # no second initialisation
    ours.load_state_dict(without(theirs.state_dict(), "fc."), assign=True)
    image = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        found, expected = ours(image), features_of(theirs, image)
        logits = theirs.fc(theirs.avgpool(found["c5"]).flatten(1))
        close({"logits": logits}, {"logits": theirs(image)})
    assert list(found) == list(expected)
    close(found, expected)
    assert {k: v.shape[1] for k, v in found.items()} == ours.channels
    assert {k: 64 // v.shape[2] for k, v in found.items()} == ours.strides


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_is_torchvisions(output_stride):
    dilate = [False, output_stride == 8, True]
    theirs = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=dilate).eval()
    ours = build_backbone("resnet50", output_stride=output_stride).eval()
    ours.load_state_dict(without(theirs.state_dict(), "fc."))
    image = torch.rand(1, 3, 96, 64)
    found = ours(image)
    close(found, features_of(theirs, image))
    assert ours.strides["c5"] == output_stride == 64 // found["c5"].shape[-1]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilation_keeps_basic_and_bottleneck_blocks_running_backward(name):
    backbone = short(name, output_stride=8)
    maps = backbone(torch.rand(2, 3, 64, 64))
    assert {k: 64 // v.shape[-1] for k, v in maps.items()} == backbone.strides
    sum(x.mean() for x in maps.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_stages_past_the_last_requested_feature_are_not_built():
    backbone = build_backbone("resnet18", out_features=["c4", "c2"])
    assert backbone.channels == {"c2": 64, "c4": 256}
    assert backbone.strides == {"c2": 4, "c4": 16}
    assert not any(key.startswith("layer4") for key in backbone.state_dict())
    maps = backbone(torch.rand(1, 3, 64, 96))
    sizes = {k: tuple(v.shape[1:]) for k, v in maps.items()}
    assert sizes == {"c2": (64, 16, 24), "c4": (256, 4, 6)}
