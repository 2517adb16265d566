"""The founding claims: what a shortcut does to the gradient, and to training, by depth."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from matplotlib.image import imread
from rich.console import Console
from torch import nn

from benchmarks.study import claims
from benchmarks.study.claims import QUICK, degradation_rows, plan, reproduce
from benchmarks.study.degradation import Curve, Training, train
from benchmarks.study.gradients import gradient_norms, measure
from benchmarks.study.gratings import gratings
from benchmarks.study.pairs import ResidualPair, convolutions, network


@pytest.fixture(scope="module")
def norms():
    return {(n.kind, n.setting): n for n in measure([10, 100], seeds=[0])}


def test_with_batch_norm_the_plain_gradient_explodes_and_the_residual_one_does_not(norms):
    plain, residual = norms["plain", "He, batch norm"], norms["residual", "He, batch norm"]
    assert plain.ratio(100) > 1e4
    assert plain.by_layer[100][0] > 1e4 * plain.by_layer[10][0]
    assert 1 / 30 < residual.ratio(100) < 30
    assert residual.by_layer[100][0] < 30 * residual.by_layer[10][0]


def test_with_torchs_weights_and_no_norm_the_plain_gradient_vanishes(norms):
    plain, residual = norms["plain", "torch, no norm"], norms["residual", "torch, no norm"]
    # Each layer keeps a sixth of the variance: 6 ** -49.5 is 1e-39 for 99 convolutions.
    assert 0 < plain.by_layer[100][0] < 1e-30
    assert 1 / 30 < residual.ratio(100) < 30
    assert 1e-2 < residual.by_layer[100][0] < 1e2


def test_hes_weights_alone_keep_the_plain_gradient_and_blow_up_the_residual_one(norms):
    assert 1e-5 < norms["plain", "He, no norm"].by_layer[100][0] < 1e2
    assert norms["residual", "He, no norm"].by_layer[100][0] > 1e4


def test_every_convolution_is_measured_first_to_last(norms):
    assert {len(entry.by_layer[100]) for entry in norms.values()} == {99}
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        nn.Conv2d(2, 10, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    images, labels = gratings(4, generator=torch.Generator().manual_seed(0))
    found = gradient_norms(model, images, labels)
    assert all(p.grad is None for p in model.parameters())
    F.cross_entropy(model(images), labels).backward()
    assert found == pytest.approx([m.weight.grad.norm().item() for m in convolutions(model)])


def test_plain_and_residual_networks_have_the_same_layers_and_start():
    weights = []
    for kind in ("plain", "residual"):
        torch.manual_seed(0)
        weights.append(network(8, kind).state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert len(convolutions(network(8, "plain"))) == 7  # and the linear layer


def test_a_residual_pair_adds_its_input():
    pair = ResidualPair(3, norm="none")
    for layer in convolutions(pair):
        nn.init.zeros_(layer.weight)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(pair(x), x.relu())


@pytest.mark.parametrize("depth", [2, 7])
def test_an_odd_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth takes an even number .*, got {depth}\."):
        network(depth, "plain")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "residul"}, "unknown kind 'residul'; did you mean 'residual'"),
        ({"kind": "plain", "initialisation": "hee"}, "unknown initialisation 'hee'; did you mean"),
        ({"kind": "plain", "norm": "bacth"}, "unknown norm 'bacth'; did you mean 'batch'"),
    ],
)
def test_a_misspelt_name_is_answered(options, message):
    with pytest.raises(ValueError, match=message):
        network(8, options.pop("kind"), **options)


def test_stripes_run_where_their_class_says():
    images, labels = gratings(64, generator=torch.Generator().manual_seed(0), noise=0)
    assert images.shape == (64, 1, 12, 12)
    assert set(labels.tolist()) == set(range(10))
    assert images.abs().max() <= 1
    across, down = (
        images.diff(dim=3).square().mean((1, 2, 3)),
        images.diff(dim=2).square().mean((1, 2, 3)),
    )
    assert (across > 10 * down)[labels == 0].all()  # the wave runs along x
    assert (down > 10 * across)[labels == 5].all()  # 90 degrees further


def test_depth_hurts_the_plain_network_and_not_the_residual_one():
    training = Training(steps=60)
    loss = {
        (kind, depth): train(kind, depth, seed=0, training=training).final()[0]
        for kind in ("plain", "residual")
        for depth in (8, 20)
    }
    assert loss["plain", 20] > loss["plain", 8] + 0.3
    assert loss["residual", 20] < loss["plain", 20] - 0.3
    assert loss["residual", 20] < loss["residual", 8] + 0.1


def test_training_is_the_same_for_a_seed_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = (train("plain", 4, seed=3, training=Training(steps=3)) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert train("plain", 4, seed=4, training=Training(steps=3)).losses != first.losses


def test_the_table_has_mean_and_range_of_the_last_tenth():
    def curve(seed, last, kind="plain"):
        return Curve(
            kind=kind, depth=8, seed=seed, losses=[9.0] * 9 + [last], errors=[1.0] * 9 + [0.5]
        )

    curves = [curve(0, 1.0), curve(1, 2.0), curve(0, 0.25, kind="residual")]
    head, rows = degradation_rows(curves)
    assert head[1:] == ["plain, loss", "plain, error (%)", "residual, loss", "residual, error (%)"]
    assert rows == [["8", "1.500 (1.000 to 2.000)", "50.0 (50.0 to 50.0)", "0.250", "50.0"]]


def test_the_command_writes_tables_pictures_and_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "prepare_cpu", lambda threads: f"{threads} threads")
    small = replace(QUICK, gradient_depths=(4, 6), depths=(4, 6), training=Training(steps=3))
    console = Console(record=True, width=160)
    folder = tmp_path / "out"
    reproduce(small, folder=folder, command="the command", console=console)
    printed = console.export_text()
    assert sorted(p.name for p in folder.iterdir()) == [
        "claims.md", "degradation.png", "gradients.png"
    ]  # fmt: skip
    for picture in folder.glob("*.png"):
        height, width, _ = imread(picture).shape
        assert width > height > 300
    page = (folder / "claims.md").read_text()
    assert page.startswith("`the command`, 20")
    rows = [line for line in page.splitlines() if line.startswith(("| plain", "| residual"))]
    assert len(rows) == 6
    for cell in rows[0].strip("| ").split(" | "):
        assert cell in printed


def test_a_plan_is_what_was_asked_for():
    assert plan(quick=True, seed=0, seeds=1, steps=None) == replace(QUICK, seeds=range(1))
    chosen = plan(quick=False, seed=5, seeds=2, steps=7)
    assert (list(chosen.seeds), chosen.training.steps, chosen.depths) == ([5, 6], 7, (8, 20, 56))
    for name in ("seeds", "steps"):
        with pytest.raises(ValueError, match=rf"--{name} takes a positive number, got 0\."):
            plan(**({"quick": True, "seed": 0, "seeds": 1, "steps": 1} | {name: 0}))
