"""What a recipe asks of a backbone's gates."""

import pytest
import torch

from backbones import build_backbone
from backbones.layers.gate import record_gates
from tasks.common.recipe.gates import check_gates, gate_losses, mean_share
from tasks.common.recipe.recipe import Recipe


def test_a_target_without_gates_is_refused():
    with pytest.raises(ValueError, match=r"gate_target=0\.5 needs a backbone with gates"):
        check_gates(build_backbone("resnet18", out_features=["c1"]), Recipe(gate_target=0.5))
    check_gates(build_backbone("resnet18", out_features=["c1"]), Recipe())
    check_gates(build_backbone("dynamic_resnet18", out_features=["c2"]), Recipe(gate_target=0.5))


def test_the_penalty_is_weighed_and_the_share_is_logged():
    backbone = build_backbone("dynamic_resnet18", out_features=["c2"]).train()
    with record_gates(backbone) as gates:
        backbone(torch.rand(2, 3, 32, 32))
    losses = gate_losses(gates, Recipe(gate_target=0.5, gate_weight=3.0))
    assert losses["loss_gates"].item() == pytest.approx(3 * (0.880797 - 0.5) ** 2, rel=1e-4)
    assert mean_share(gates)["train/gate_share"].item() == pytest.approx(0.880797, rel=1e-4)
    assert gate_losses(gates, Recipe()) == {}


def test_a_network_without_gates_adds_and_logs_nothing():
    backbone = build_backbone("resnet18", out_features=["c2"]).train()
    with record_gates(backbone) as gates:
        backbone(torch.rand(2, 3, 32, 32))
    assert gate_losses(gates, Recipe()) == mean_share(gates) == {}
