"""Optimisers: what they take from the recipe, and that they leave alone what is frozen."""

import pytest
import torch
from torch import nn

from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.optim import build_optimizer
from tasks.common.recipe.recipe import Recipe
from tests.tasks.common.fakes import Network


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_frozen_parameter_does_not_move_also_if_it_was_frozen_later(optimizer):
    network = Network(freeze=3).train()
    recipe = Recipe(optimizer=optimizer, weight_decay=0.5, momentum=0.9)
    groups = parameter_groups(network, network.backbone, recipe=recipe, lr=0.1)
    steps = build_optimizer(groups, recipe)
    for frozen in (3, 5):
        network.backbone.freeze(frozen)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        for _ in range(3):  # momentum moves from the second step on
            steps.zero_grad()
            network(torch.randn(2, 3, 8, 8)).square().mean().backward()
            steps.step()
        held = {name for name, p in network.named_parameters() if not p.requires_grad}
        still = {name for name, p in network.named_parameters() if torch.equal(p, before[name])}
        assert still == held
        assert len(held) == 3 * frozen


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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_unfrozen_stage_begins_like_a_new_one(optimizer):
    """No momentum, no moments and no count of steps from before."""
    recipe = Recipe(optimizer=optimizer, weight_decay=0.5)
    stage = nn.Linear(3, 2).requires_grad_(False)
    head = nn.Linear(2, 1)
    groups = [{"params": [*head.parameters()]}, {"params": [*stage.parameters()]}]
    steps = build_optimizer([{**g, "lr": 0.1, "weight_decay": 0.5} for g in groups], recipe)
    x = torch.ones(4, 3)

    def backward():
        steps.zero_grad()
        head(stage(x)).square().sum().backward()

    for _ in range(3):
        backward()
        steps.step()
    assert not any(parameter in steps.state for parameter in stage.parameters())
    stage.requires_grad_(True)
    backward()
    twin = [nn.Parameter(p.detach().clone()) for p in stage.parameters()]
    for copy, parameter in zip(twin, stage.parameters(), strict=True):
        copy.grad = parameter.grad.clone()
    build_optimizer([{"params": twin, "lr": 0.1, "weight_decay": 0.5}], recipe).step()
    steps.step()
    for copy, parameter in zip(twin, stage.parameters(), strict=True):
        assert torch.equal(copy, parameter)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_fused_kernel_does_what_the_plain_loop_does(optimizer):
    """`16-mixed` is not fused, nor is clipping in mixed precision."""
    made = {}
    for precision, clip in (("32-true", 1.0), ("bf16-mixed", 0.0), ("bf16-mixed", 1.0)):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(5, 4))
        recipe = Recipe(optimizer=optimizer, clip=clip)
        groups = [{"params": [weight], "lr": 0.1, "weight_decay": 0.3}]
        steps = build_optimizer(groups, recipe, precision=precision)
        assert bool(steps.defaults["fused"]) is not (precision == "bf16-mixed" and clip > 0)
        for _ in range(3):
            weight.grad = weight.detach().sin()
            steps.step()
        made[precision, clip] = weight.detach()
    for other in made.values():
        torch.testing.assert_close(other, made["bf16-mixed", 1.0])
    half = build_optimizer([{"params": [weight]}], Recipe(), precision="16-mixed")
    assert half.defaults["fused"] is None  # False would keep torch from its other kernels
