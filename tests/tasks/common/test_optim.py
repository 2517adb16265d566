"""Parameter groups, optimisers and the schedule, by hand-computed values."""

import math

import pytest
import torch
from torch import nn

from backbones import build_backbone
from tasks.common.optim import Recipe, build_optimizer, parameter_groups, warmup_cosine


class Network(nn.Module):
    """A backbone with a small head: a weight, a bias and a norm."""

    def __init__(self, freeze=0):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = build_backbone("resnet18", weights="random", freeze=freeze)
        self.norm = nn.BatchNorm2d(512)
        self.head = nn.Conv2d(512, 2, 1)

    def forward(self, x):
        return self.head(self.norm(self.backbone(x)["c5"]))


def grouped(network, recipe=None, lr=0.5):
    return parameter_groups(network, network.backbone, recipe=recipe or Recipe(), lr=lr)


def names_by_group(network):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = grouped(network)
    return {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}


@pytest.mark.parametrize("freeze", [0, 2, 5])
def test_every_parameter_is_in_exactly_one_group(freeze):
    network = Network(freeze)
    found = [name for names in names_by_group(network).values() for name in names]
    assert sorted(found) == sorted(name for name, _ in network.named_parameters())


def test_the_groups_do_not_depend_on_what_is_frozen():
    free = names_by_group(Network())
    assert [names_by_group(Network(count)) for count in range(1, 6)] == [free] * 5


def test_a_group_holds_one_stage():
    groups = names_by_group(Network())
    assert groups["stem/decay"] == ["backbone.conv1.weight"]
    assert groups["stem/no decay"] == ["backbone.bn1.weight", "backbone.bn1.bias"]
    assert {name.split(".")[1] for name in groups["c4/decay"]} == {"layer3"}
    assert groups["head/decay"] == ["head.weight"]
    assert groups["head/no decay"] == ["norm.weight", "norm.bias", "head.bias"]


def test_norms_and_biases_do_not_decay_and_all_other_weights_do():
    network = Network()
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    expected = {
        id(parameter): 0.3 if isinstance(module, nn.Conv2d) and name == "weight" else 0.0
        for module in network.modules()
        if isinstance(module, kinds)
        for name, parameter in module.named_parameters(recurse=False)
    }
    groups = grouped(network, Recipe(weight_decay=0.3))
    found = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert found == expected


def test_only_the_backbone_gets_the_backbones_learning_rate():
    groups = grouped(Network(), Recipe(backbone_lr_factor=0.1), lr=0.5)
    assert {g["name"].partition("/")[0] for g in groups if g["lr"] == 0.5} == {"head"}
    assert {g["lr"] for g in groups if not g["name"].startswith("head")} == {0.05}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_frozen_parameter_does_not_move(optimizer):
    network = Network(freeze=3).train()
    recipe = Recipe(optimizer=optimizer, weight_decay=0.5, momentum=0.9)
    steps = build_optimizer(grouped(network, recipe, lr=0.1), recipe)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(3):  # momentum moves from the second step on
        steps.zero_grad()
        network(torch.randn(2, 3, 64, 64)).square().mean().backward()
        steps.step()
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    still = {name for name, p in network.named_parameters() if torch.equal(p, before[name])}
    assert still == frozen
    assert len(frozen) == 3 + 12 + 15


def test_stages_that_freeze_in_the_middle_of_a_run_stop_at_once():
    network = Network().train()
    recipe = Recipe(weight_decay=0.5)
    steps = build_optimizer(grouped(network, recipe, lr=0.1), recipe)

    def step():
        steps.zero_grad()
        network(torch.randn(2, 3, 64, 64)).square().mean().backward()
        steps.step()

    step()
    network.backbone.freeze(5)
    before = network.backbone.conv1.weight.detach().clone()
    step()
    assert torch.equal(network.backbone.conv1.weight, before)


def test_sgd_and_adamw_take_the_recipes_values():
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": 0.1, "weight_decay": 0.2}]
    sgd = build_optimizer(groups, Recipe(momentum=0.7))
    assert type(sgd) is torch.optim.SGD
    assert sgd.param_groups[0]["momentum"] == 0.7
    assert sgd.param_groups[0]["nesterov"] is False
    adamw = build_optimizer(groups, Recipe(optimizer="adamw", momentum=0.8))
    assert type(adamw) is torch.optim.AdamW
    assert adamw.param_groups[0]["betas"] == (0.8, 0.999)
    assert adamw.param_groups[0]["weight_decay"] == 0.2


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "devices", "images", "lr"),
    [
        (4, 1, 1, 4, 0.005),  # 0.02 * 4 / 16
        (4, 4, 1, 16, 0.02),
        (2, 3, 8, 48, 0.06),
    ],
)
def test_the_learning_rate_is_scaled_with_the_effective_batch(
    batch_size, accumulate, devices, images, lr
):
    recipe = Recipe(batch_size=batch_size, accumulate=accumulate, lr=0.02, lr_images=16)
    assert recipe.effective_batch(devices) == images
    assert recipe.peak_lr(devices) == pytest.approx(lr)


def test_the_schedule_rises_to_1_and_falls_by_a_cosine():
    factors = [warmup_cosine(step, warmup=3, total=7, final=0.2) for step in range(8)]
    # A quarter of the way down a cosine from 1 to 0.2 it is at 0.6 + 0.4 * cos(pi / 4).
    quarter = 0.4 * math.sqrt(0.5)
    expected = [0.25, 0.5, 0.75, 1.0, 0.6 + quarter, 0.6, 0.6 - quarter, 0.2]
    assert factors == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "warmup", "total", "factor"),
    [
        (0, 0, 10, 1.0),  # no warmup
        (10, 0, 10, 0.0),
        (12, 0, 10, 0.0),  # past the end
        (0, 100, 1, 1.0),  # a run of one step has no room for a warmup
        (1, 100, 4, 2 / 3),  # the warmup takes half of a short run
        (2, 100, 4, 1.0),
    ],
)
def test_the_schedule_at_its_edges(step, warmup, total, factor):
    assert warmup_cosine(step, warmup=warmup, total=total) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "recipe.epochs takes an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "recipe.batch_size takes an integer of at least 1, got 2.5"),
        ({"accumulate": "4"}, "recipe.accumulate takes an integer of at least 1, got '4'"),
        ({"lr_images": -1}, "recipe.lr_images takes an integer of at least 1, got -1"),
        ({"lr": -0.1}, "recipe.lr takes a number of at least 0, got -0.1"),
        ({"lr": math.nan}, "recipe.lr takes a number of at least 0, got nan"),
        ({"lr": math.inf}, "recipe.lr takes a number of at least 0, got inf"),
        ({"weight_decay": "1e-4"}, "recipe.weight_decay takes a number of at least 0, got '1e-4'"),
        ({"warmup": -1}, "recipe.warmup takes a number of at least 0, got -1"),
        ({"clip": -1.0}, "recipe.clip takes a number of at least 0"),
        ({"backbone_lr_factor": -1.0}, "recipe.backbone_lr_factor takes a number of at least 0"),
        ({"final_lr_factor": -0.1}, "recipe.final_lr_factor takes a number of at least 0"),
        ({"momentum": 1.0}, "recipe.momentum takes a number below 1, got 1.0"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; did you mean 'adamw'"),
    ],
)
def test_a_recipe_that_cannot_train_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
