"""The founding claims: what a shortcut does to the gradient, and to training, by depth."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from matplotlib.image import imread
from rich.console import Console
from torch import nn

from benchmarks.study import claims
from benchmarks.study.claims import Pair, convolutions, final, gratings, network, train


@pytest.fixture(scope="module")
def norms():
    return claims.measure_gradients([10, 100], seeds=[0])


@pytest.mark.slow
def test_with_batch_norm_the_plain_gradient_explodes_and_the_residual_one_does_not(norms):
    plain, residual = (norms["He, batch norm", kind] for kind in claims.KINDS)
    assert plain[100][0] > 1e4 * plain[100][-1]
    assert plain[100][0] > 1e4 * plain[10][0]
    assert 1 / 30 < residual[100][0] / residual[100][-1] < 30
    assert residual[100][0] < 30 * residual[10][0]


@pytest.mark.slow
def test_with_torchs_weights_and_no_norm_the_plain_gradient_vanishes(norms):
    plain, residual = (norms["torch, no norm", kind][100] for kind in claims.KINDS)
    # Each layer keeps a sixth of the variance: 6 ** -49.5 is 1e-39 for 99 convolutions.
    assert 0 < plain[0] < 1e-30
    assert 1 / 30 < residual[0] / residual[-1] < 30
    assert 1e-2 < residual[0] < 1e2


@pytest.mark.slow
def test_hes_weights_alone_keep_the_plain_gradient_and_blow_up_the_residual_one(norms):
    plain, residual = (norms["He, no norm", kind][100] for kind in claims.KINDS)
    assert 1e-5 < plain[0] < 1e2
    assert residual[0] > 1e4


@pytest.mark.slow
def test_every_network_is_measured_as_deep_as_it_is(norms):
    assert {len(by_depth[100]) for by_depth in norms.values()} == {99}


def test_every_convolution_is_measured_first_to_last():
    layers = (nn.Conv2d(*channels, 1, bias=False) for channels in ((1, 2), (2, 10)))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images, labels = gratings(4, torch.Generator().manual_seed(0))
    found = claims.gradient_norms(model, images, labels)
    assert all(p.grad is None for p in model.parameters())
    F.cross_entropy(model(images), labels).backward()
    assert found == pytest.approx([m.weight.grad.norm().item() for m in convolutions(model)])


def test_plain_and_residual_networks_have_the_same_layers_and_start():
    plain, residual = (network(8, kind, seed=0).state_dict() for kind in claims.KINDS)
    torch.testing.assert_close(dict(plain), dict(residual), rtol=0, atol=0)
    assert len(convolutions(network(8, "plain", seed=0))) == 7  # and the linear layer


def test_a_residual_pair_adds_its_input():
    pair = Pair(3, norm="none", residual=True)
    for layer in convolutions(pair):
        nn.init.zeros_(layer.weight)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(pair(x), x.relu())


@pytest.mark.parametrize("depth", [2, 7])
def test_an_odd_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth takes an even number .*, got {depth}\."):
        network(depth, "plain", seed=0)


def test_stripes_run_in_the_direction_of_their_class():
    images, labels = gratings(64, torch.Generator().manual_seed(0), noise=0)
    assert images.shape == (64, 1, 12, 12)
    assert set(labels.tolist()) == set(range(10))
    assert images.abs().max() <= 1
    across, down = (images.diff(dim=dim).square().mean((1, 2, 3)) for dim in (3, 2))
    assert (across > 10 * down)[labels == 0].all()  # the wave runs along x
    assert (down > 10 * across)[labels == 5].all()  # 90 degrees further


@pytest.mark.slow
def test_depth_hurts_the_plain_network_and_not_the_residual_one(monkeypatch):
    monkeypatch.setattr(claims, "SIZE", 8)
    monkeypatch.setattr(claims, "BATCH", 32)
    loss = {
        (kind, depth): final(train(kind, depth, seed=0, steps=80)[0])
        for kind in claims.KINDS
        for depth in (8, 20)
    }
    assert loss["plain", 20] > loss["plain", 8] + 0.3
    assert loss["residual", 20] < loss["plain", 20] - 0.3
    assert loss["residual", 20] < loss["residual", 8] + 0.1


def test_training_is_the_same_for_a_seed_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = (train("plain", 4, seed=3, steps=3) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert train("plain", 4, seed=4, steps=3) != first


def test_the_table_has_mean_and_range_of_the_last_tenth():
    def curve(loss):
        return [9.0] * 9 + [loss], [1.0] * 9 + [0.5]

    curves = {("plain", 8): [curve(1.0), curve(2.0)], ("residual", 8): [curve(0.25)]}
    head, _, row = claims.training_table(curves).splitlines()
    columns = "plain, loss | plain, error (%) | residual, loss | residual, error (%)"
    assert head == f"| weight layers | {columns} |"
    assert row == "| 8 | 1.500 (1.000 to 2.000) | 50.0 (50.0 to 50.0) | 0.250 | 50.0 |"


def test_the_first_gradient_over_the_last_is_in_the_table():
    gradients = {("He, no norm", "plain"): {4: [5.0], 10: [8.0, 3.0, 2.0]}}
    row = claims.gradient_table(gradients).splitlines()[-1]
    assert row == "| plain | He, no norm | 5.0e+00 | 8.0e+00 | 2.0e+00 | 4.0e+00 |"


def test_the_command_writes_tables_pictures_and_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "prepare_cpu", lambda threads: f"{threads} threads")
    small = replace(claims.QUICK, gradient_depths=(4, 6), depths=(4, 6), steps=3)
    console = Console(record=True, width=160)
    folder = tmp_path / "out"
    claims.reproduce(small, folder=folder, command="the command", console=console)
    printed = console.export_text()
    names = ["claims.md", "degradation.png", "gradients.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for picture in folder.glob("*.png"):
        height, width, _ = imread(picture).shape
        assert width > height > 300
    page = (folder / "claims.md").read_text()
    assert page.startswith("`the command`, 20")
    rows = [line for line in page.splitlines() if line.startswith(("| plain", "| residual"))]
    assert len(rows) == 6
    for cell in rows[0].strip("| ").split(" | "):
        assert cell in printed
