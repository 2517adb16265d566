"""The contract of `Backbone.freeze`, for every kind of block and of batch norm."""

import pytest
import torch

from backbones import build_backbone
from tests.backbones.errors import refuses
from tests.backbones.networks import short

PREFIXES = ["conv1.", "layer1.", "layer2.", "layer3.", "layer4."]


@pytest.fixture(params=["resnet18", "resnext50_32x4d", "resnetv2_18", "dynamic_resnet18"])
def backbone(request):
    return short(request.param).train()


def stage(key):
    """The stage of a tensor; a feature's own norm belongs to the stage that ends in it."""
    first, second, *_ = key.split(".")
    return first if first != "norms" else f"layer{int(second[1:]) - 1}"


@pytest.mark.parametrize("count", range(6))
def test_only_the_rest_has_gradients(backbone, count):
    backbone.freeze(count)
    total = sum(x.sum() for x in backbone(torch.rand(2, 3, 64, 64)).values())
    if count < 5:
        total.backward()
    trained = [
        any(p.grad is not None for n, p in backbone.named_parameters() if n.startswith(x))
        for x in PREFIXES
    ]
    assert trained == [False] * count + [True] * (5 - count)
    assert backbone.frozen == count


@pytest.mark.parametrize("again", [False, True], ids=["at_once", "after_train"])
def test_a_training_step_moves_no_frozen_tensor(backbone, again):
    backbone.freeze(2)
    if again:
        backbone.eval().train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        sum(x.mean() for x in backbone(torch.rand(2, 3, 64, 64)).values()).backward()
        optimizer.step()
    after = backbone.state_dict()
    moved = {stage(k) for k in after if not torch.equal(after[k], before[k])}
    assert moved == {"layer2", "layer3", "layer4"}


def test_a_frozen_prefix_builds_no_graph(backbone):
    maps = backbone.freeze(3)(torch.rand(2, 3, 64, 64))
    assert [x.requires_grad for x in maps.values()] == [False, False, False, True, True]


def test_eval_reaches_frozen_stages_too(backbone):
    backbone.freeze(3).eval()
    assert not any(m.training for m in backbone.modules())


def test_freeze_zero_undoes_everything(backbone):
    backbone.freeze(5).freeze(0).train()
    assert all(p.requires_grad for p in backbone.parameters())
    assert all(m.training for m in backbone.modules())


def test_state_dict_keys_do_not_change(backbone):
    keys = list(backbone.state_dict())
    assert list(backbone.freeze(5).state_dict()) == keys


@pytest.mark.parametrize("count", [-1, 6, True, "c2", 1.5])
def test_a_count_out_of_range_is_refused(backbone, count):
    with refuses(rf"^freeze takes 0 to 5 stages, got {count!r}\.$"):
        backbone.freeze(count)


def test_train_returns_the_module(backbone):
    assert backbone.freeze(2).train() is backbone


@pytest.mark.parametrize("options", [{"freeze": 2}, {"norm": "frozen_batch"}])
def test_fixing_what_was_never_trained_has_to_be_asked_for(options):
    with refuses(r"would fix what was never trained.*weights='random'"):
        build_backbone("resnet18", **options)
    assert build_backbone("resnet18", weights="random", **options)
