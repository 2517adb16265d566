"""The contract of `Backbone.freeze`, for every kind of block and of batch norm, and for timm's."""

import copy

import pytest
import torch

from backbones import build_backbone
from tests.backbones.errors import refuses
from tests.backbones.networks import short

TIMM = "test_convnext test_efficientnet"
LARGER = (
    "test_resnet convnext_atto efficientnet_b0 hrnet_w18_small mobilenetv3_small_050 regnety_002 "
    "resnetv2_18 swin_tiny_patch4_window7_224"
)
NAMES = ["resnet18", "resnext50_32x4d", "resnetv2_18", "dynamic_resnet18"]
NAMES += [f"timm/{name}" for name in TIMM.split()]
SLOW = [pytest.param(f"timm/{name}", marks=pytest.mark.slow) for name in LARGER.split()]


@pytest.fixture(params=[*NAMES, *SLOW])
def name(request):
    return request.param


@pytest.fixture
def backbone(name):
    return (build_backbone if name.startswith("timm/") else short)(name).train()


@pytest.fixture
def image(name):
    side = 224 if name.endswith("_224") else 64 if name.startswith("timm/") else 32
    return torch.rand(2, 3, side, side)


@pytest.mark.parametrize("count", range(6))
def test_only_the_rest_has_gradients(backbone, image, count):
    backbone.freeze(count)
    total = sum(x.square().mean() for x in backbone(image).values())
    if count < 5:
        total.backward()
    for index, stage in enumerate(backbone.stages()):
        got = [p.grad is not None for m in stage for p in m.parameters()]
        assert got == [index >= count] * len(got)
    assert backbone.frozen == count


@pytest.mark.parametrize("again", [False, True], ids=["at_once", "after_train"])
def test_a_training_step_moves_no_frozen_tensor(backbone, image, again):
    backbone.freeze(2)
    if again:
        backbone.eval().train()
    before = copy.deepcopy(backbone).stages()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    sum(x.square().mean() for x in backbone(image).values()).backward()
    optimizer.step()
    for index, (was, stage) in enumerate(zip(before, backbone.stages(), strict=True)):
        pairs = [
            torch.equal(a, b)
            for m, n in zip(was, stage, strict=True)
            for a, b in zip(m.state_dict().values(), n.state_dict().values(), strict=True)
        ]
        assert all(pairs) if index < 2 else not all(pairs)


def test_a_frozen_prefix_builds_no_graph(backbone, image):
    maps = backbone.freeze(3)(image)
    assert {key: x.requires_grad for key, x in maps.items()} == {key: key > "c3" for key in maps}


def test_eval_reaches_frozen_stages_too(backbone):
    assert backbone.freeze(3).train() is backbone.eval() is backbone
    assert not any(m.training for m in backbone.modules())


def test_freeze_zero_undoes_everything(backbone):
    backbone.freeze(5).freeze(0).train()
    assert all(p.requires_grad for p in backbone.parameters())
    assert all(m.training for m in backbone.modules())


def test_state_dict_keys_do_not_change(backbone):
    keys = list(backbone.state_dict())
    assert list(backbone.freeze(5).state_dict()) == keys


def test_a_count_out_of_range_is_refused(backbone):
    for count in (-1, 6, True, "c2", 1.5):
        with refuses(rf"^freeze takes 0 to 5 stages, got {count!r}\.$"):
            backbone.freeze(count)


@pytest.mark.parametrize("options", [{"freeze": 2}, {"norm": "frozen_batch"}])
def test_fixing_what_was_never_trained_has_to_be_asked_for(options):
    with refuses(r"would fix what was never trained.*weights='random'"):
        build_backbone("resnet18", **options)
    assert build_backbone("resnet18", weights="random", **options)
