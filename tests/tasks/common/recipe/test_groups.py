"""Parameter groups: fixed, complete, with learning rates and decays computed by hand."""

import pytest
import torch
from torch import nn

from tasks.common.recipe.groups import parameter_groups, stage_lrs
from tasks.common.recipe.recipe import Recipe
from tests.tasks.common.fakes import Network


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return Network()


def grouped(network, recipe=None, lr=0.5):
    return parameter_groups(network, network.backbone, recipe=recipe or Recipe(), lr=lr)


def names_by_group(network):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = grouped(network)
    return {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}


def test_every_parameter_is_in_one_group_whatever_is_frozen(network):
    groups = names_by_group(network)
    found = sorted(name for names in groups.values() for name in names)
    assert found == sorted(name for name, _ in network.named_parameters())
    for count in (*range(1, 6), 0):
        network.backbone.freeze(count)
        assert names_by_group(network) == groups


def test_a_group_holds_one_stage(network):
    groups = names_by_group(network)
    assert groups["stem/decay"] == ["backbone.stem.0.weight"]
    assert groups["stem/no decay"] == ["backbone.stem.1.weight", "backbone.stem.1.bias"]
    assert {name.split(".")[1] for name in groups["c4/decay"]} == {"c4"}
    assert groups["head/decay"] == ["head.weight"]
    assert groups["head/no decay"] == ["norm.weight", "norm.bias", "head.bias"]


def test_norms_and_biases_do_not_decay_and_all_other_weights_do(network):
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


def test_the_learning_rate_falls_from_stage_to_stage(network):
    """0.8 * 0.5 for the last stage, then half of it for each before."""
    recipe = Recipe(backbone_lr_factor=0.5, lr_decay=0.5)
    expected = {"head": 0.8, "c5": 0.4, "c4": 0.2, "c3": 0.1, "c2": 0.05, "stem": 0.025}
    assert stage_lrs(recipe, lr=0.8, stages=5) == pytest.approx(expected)
    groups = grouped(network, recipe, lr=0.8)
    found = {group["name"]: group["lr"] for group in groups}
    kinds = ("decay", "no decay")
    assert found == pytest.approx({f"{s}/{kind}": expected[s] for s in expected for kind in kinds})
    short = stage_lrs(Recipe(lr_decay=0.5), lr=0.8, stages=3)
    assert short == pytest.approx({"head": 0.8, "c3": 0.8, "c2": 0.4, "stem": 0.2})
    alike = stage_lrs(Recipe(backbone_lr_factor=0.1), lr=0.5, stages=2)
    assert alike == pytest.approx({"head": 0.5, "c2": 0.05, "stem": 0.05})
