"""Gates on residual branches: soft in training, hard at inference."""

from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backbones.layers.gate import Gate, record_gates
from tests.backbones.errors import refuses
from tests.backbones.networks import short, trained_looking


def set_gates(network, values):
    """Make each gate return one fixed number per sample."""
    gates = [module for module in network.modules() if isinstance(module, Gate)]
    for gate, value in zip(gates, values, strict=True):
        gate.openness = Fixed(torch.as_tensor(value, dtype=torch.float32))
    return network


class Fixed(nn.Module):
    def __init__(self, shares):
        super().__init__()
        self.shares = shares

    def forward(self, x):
        return self.shares.expand(len(x))[:, None, None, None]


def triple(x):
    return 3 * x


@pytest.fixture
def pair():
    """A gated network and the plain one with the same weights."""
    gated = trained_looking(short("dynamic_resnet18", init="he"))
    plain = short("resnet18").eval()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if ".gate." not in k})
    return gated, plain


@pytest.mark.parametrize("training", [False, True])
def test_gates_of_one_are_the_plain_network(pair, training):
    gated, plain = (network.train(training) for network in pair)
    set_gates(gated, [1.0] * 5)
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(gated(image), plain(image))


def test_soft_gates_weigh_the_residual_of_each_sample():
    gate, x = Gate(4).train(), torch.rand(2, 4, 3, 3)
    gate.openness = Fixed(torch.tensor([0.25, 0.75]))
    out = gate(triple, x, torch.ones_like(x))
    torch.testing.assert_close(out[0], 1 + 0.25 * 3 * x[0])
    torch.testing.assert_close(out[1], 1 + 0.75 * 3 * x[1])


@pytest.mark.parametrize("shares", [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
def test_hard_gates_are_soft_ones_of_zero_and_one_and_do_not_compute_what_they_skip(shares):
    gate, x, skip = Gate(4), torch.rand(3, 4, 3, 3), torch.rand(3, 4, 3, 3)
    gate.openness = Fixed(torch.tensor(shares))
    soft = gate.train()(triple, x, skip)
    branch = Mock(side_effect=triple)
    torch.testing.assert_close(gate.eval()(branch, x, skip), soft)
    assert sum(len(call.args[0]) for call in branch.call_args_list) == sum(shares)


def test_a_gate_below_one_half_skips_and_one_above_keeps_its_share():
    gate, x = Gate(4).eval(), torch.rand(2, 4, 3, 3)
    gate.openness = Fixed(torch.tensor([0.49, 0.51]))
    out = gate(triple, x, x)
    torch.testing.assert_close(out, torch.stack([x[0], x[1] + 0.51 * 3 * x[1]]))


def test_a_captured_graph_has_the_same_values(pair):
    gated, _ = pair
    generator = torch.Generator().manual_seed(0)
    set_gates(gated, torch.rand(5, 2, generator=generator))
    image = torch.rand(2, 3, 64, 64)
    program = torch.export.export(gated, (image,)).module()
    torch.testing.assert_close(program(image), gated(image), rtol=1e-4, atol=1e-5)


def test_a_network_begins_with_its_gates_open():
    backbone = short("dynamic_resnet18").train()
    with record_gates(backbone) as gates:
        backbone(torch.rand(2, 3, 64, 64))
    assert len(gates.shares) == 5
    for share in gates.shares:
        torch.testing.assert_close(share, torch.full((2, 1, 1, 1), 0.880797))


def test_the_penalty_pulls_the_mean_share_of_each_gate_to_the_target():
    backbone = short("dynamic_resnet18").train()
    optimizer = torch.optim.SGD([p for k, p in backbone.named_parameters() if "gate" in k], lr=1.0)
    image = torch.rand(4, 3, 32, 32)
    for _ in range(60):
        with record_gates(backbone) as gates:
            backbone(image)
        penalty = gates.penalty(0.5)
        by_hand = sum((s.mean() - 0.5) ** 2 for s in gates.shares) / 5
        torch.testing.assert_close(penalty, by_hand)
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert penalty < 0.01 * (0.880797 - 0.5) ** 2


def test_a_record_ends_with_its_context_and_says_when_it_is_empty():
    backbone = short("dynamic_resnet18")
    with record_gates(backbone) as gates, refuses("no gate has run"):
        gates.penalty(0.5)
    backbone(torch.rand(1, 3, 64, 64))
    assert gates.shares == []
    with refuses(r"takes a number from 0 to 1, got 1\.5"):
        gates.penalty(1.5)


def test_the_input_decides():
    """Different images open the gates differently, and that learns."""
    backbone = short("dynamic_resnet18", out_features=["c2"]).train()
    for module in backbone.modules():
        if isinstance(module, Gate):
            nn.init.normal_(module.openness[2].weight)
    with record_gates(backbone) as gates:
        features = backbone(torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)]))
    assert all((s[0] - s[1]).abs() > 1e-4 for s in gates.shares)
    F.relu(features["c2"]).mean().backward()
    assert all(p.grad.abs().sum() > 0 for k, p in backbone.named_parameters() if "2.weight" in k)
