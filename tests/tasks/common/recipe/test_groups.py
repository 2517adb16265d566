"""Parameter groups: fixed, complete, with learning rates and decays computed by hand."""

import pytest
from torch import nn

from tasks.common.recipe.groups import parameter_groups, stage_lrs
from tasks.common.recipe.recipe import Recipe
from tests.tasks.common.conftest import Network


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


def test_the_learning_rate_falls_from_stage_to_stage():
    """0.8 * 0.5 for the last stage, then half of it for each before."""
    recipe = Recipe(backbone_lr_factor=0.5, lr_decay=0.5)
    expected = {"head": 0.8, "c5": 0.4, "c4": 0.2, "c3": 0.1, "c2": 0.05, "stem": 0.025}
    assert stage_lrs(recipe, lr=0.8, stages=5) == pytest.approx(expected)
    groups = grouped(Network(), recipe, lr=0.8)
    found = {group["name"]: group["lr"] for group in groups}
    kinds = ("decay", "no decay")
    assert found == pytest.approx({f"{s}/{kind}": expected[s] for s in expected for kind in kinds})


def test_the_last_stage_that_there_is_has_the_backbones_learning_rate():
    found = stage_lrs(Recipe(lr_decay=0.5), lr=0.8, stages=3)
    assert found == pytest.approx({"head": 0.8, "c3": 0.8, "c2": 0.4, "stem": 0.2})
