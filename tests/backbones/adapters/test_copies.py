"""A backbone that is frozen in part can be copied as every framework has it."""

import pytest
import segmentation_models_pytorch as smp
import torch

from backbones import build_backbone
from backbones.adapters.huggingface import KeelBackbone, KeelBackboneConfig
from backbones.adapters.smp import register_encoder
from backbones.adapters.torchvision import DetectionBackbone
from tests.backbones.adapters.small import trained


def of_transformers():
    model = KeelBackbone(KeelBackboneConfig(name="narrow_resnet18", out_features=["c2", "c4"]))
    return model, model.body


def of_smp():
    encoder = smp.encoders.get_encoder(register_encoder("narrow_resnet18"), weights=None, depth=3)
    return encoder, encoder.body


def of_torchvision():
    backbone = DetectionBackbone(build_backbone("narrow_resnet18"), out_channels=8)
    return backbone, backbone.body


def of_timm():
    backbone = build_backbone("timm/test_byobnet")
    return backbone, backbone


@pytest.mark.parametrize("make", [of_transformers, of_smp, of_torchvision, of_timm])
def test_a_copy_is_the_same_function_and_stays_frozen(make, clone, image):
    model, body = make()
    body.freeze(2)
    other, copied = clone((model.eval(), body))
    assert list(other.state_dict()) == list(model.state_dict())
    torch.testing.assert_close(other(image), model(image), rtol=0, atol=0)
    other.train()
    assert copied.frozen == 2
    rest = [*range(2, len(copied.stages()))]
    assert trained(copied) == (rest, rest)
