"""A model of every large family of timm, on tensors without data: stages, freezing, features."""

import pytest
import torch

from backbones import build_backbone
from tests.backbones.adapters.timm_models import FAMILIES
from tests.backbones.errors import refuses

QUICK = ["test_convnext", "test_efficientnet", "test_resnet", "test_vit"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in QUICK]


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_a_feature_depends_on_its_own_stage_and_none_after_it(name):
    with torch.device("meta"):
        backbone = build_backbone(f"timm/{name}").eval()
        stages = [[p for m in stage for p in m.parameters()] for stage in backbone.stages()]
        size = backbone.net.pretrained_cfg["input_size"]
        maps = backbone(torch.zeros(1, *size))
        ids = [i for stage in stages for i in {id(p) for p in stage}]  # CoaT shares modules
        assert sorted(ids) == sorted(id(p) for p in backbone.parameters())
        numbers = [int(key.removeprefix("c")) - 1 for key in maps]
        assert len(stages) == numbers[-1] + 1
        gaps = set(range(1, len(stages))) - set(numbers)
        assert not any(stages[gap] for gap in gaps)
        assert stages[0] or name == "csatv2"  # its stem is a cosine transform, without parameters
        stages = [[p for p in stage if p.requires_grad] for stage in stages]  # EfficientViM has one
        for number, (key, value) in zip(numbers, maps.items(), strict=True):
            assert value.shape[1] == backbone.channels[key]
            assert 0.7 < size[1] / value.shape[2] / backbone.strides[key] < 1.4
            later = [p for stage in stages[number + 1 :] for p in stage]
            if not (inputs := [*stages[number], *later]):
                continue  # VGG's last feature is the maximum of the one before
            grads = torch.autograd.grad(value.sum(), inputs, allow_unused=True, retain_graph=True)
            own = len(stages[number])
            assert all(g is not None for g in grads[:own])
            assert all(g is None for g in grads[own:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convmixer_768_32", "a feature of stride 7"),
        ("crossvit_tiny_240", "a feature of stride"),
        ("gemma4_vit_167m", r"cannot be called on meta tensors"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(name, message):
    with refuses(rf"^timm/{name} cannot be built.*{message}"):
        build_backbone(f"timm/{name}")
