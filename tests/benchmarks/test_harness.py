"""Systems take turns, one round does not count, and a system's memory is its own."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.harness import Comparison, Measured, measure
from benchmarks.report import figure, rows, table
from benchmarks.speed.evaluation import check_equal
from benchmarks.speed.steps import TrainingStep, by_freeze


def turn(name, turns):
    def step():
        turns.append(name)
        return len(turns)

    return step


def compared(turns, **options):
    systems = {name: partial(turn, name, turns) for name in ("a", "b")}
    return Comparison(title="two", systems=systems, memory=False, **options)


def test_systems_take_turns_and_the_first_round_does_not_count():
    turns = []
    found = measure(compared(turns), repeats=2, threads=1)
    assert turns == ["a", "b"] * 3
    assert [len(one.seconds) for one in found.values()] == [2, 2]


def test_results_that_differ_end_the_measurement():
    def check(one, other):
        raise RuntimeError(f"{one} is not {other}")

    with pytest.raises(RuntimeError, match=r"^3 is not 4$"):  # those of the last round
        measure(compared([], check=check), repeats=1, threads=1)


def test_scores_that_differ_in_the_last_bit_are_not_equal():
    reference = SimpleNamespace(stats=np.array([0.5, -1.0]))
    check_equal(reference, {"ap": 0.5, "ar": float("nan")})
    with pytest.raises(RuntimeError, match=r"^pycocotools has .*0\.5, -1\.0\], Keel .*0\.50"):
        check_equal(reference, {"ap": np.nextafter(0.5, 1), "ar": float("nan")})


def hoard(mebibytes):
    kept = []
    return lambda: kept.append(torch.ones(mebibytes * 2**18))


@pytest.mark.slow
def test_the_peak_is_that_of_two_steps_of_one_system():
    systems = {str(size): partial(hoard, size) for size in (100, 10)}
    found = measure(Comparison(title="", systems=systems), repeats=1, threads=1)
    assert found["100"].memory == pytest.approx(200, abs=15)
    assert found["10"].memory == pytest.approx(20, abs=15)


def test_a_row_has_the_ratio_of_the_medians_to_its_own_base():
    known = {"parameters": 1_500_000, "memory": 100.4, "note": "filled"}
    measured = {
        "a, freeze 0": Measured(seconds=[3.0, 1.0, 2.0], **known),
        "b, freeze 0": Measured(seconds=[0.5, 0.5, 9.0]),
        "a, freeze 4": Measured(seconds=[1.0]),
    }
    comparison = by_freeze("three", turn, ["a", "b"], freezes=[0, 4])
    assert rows(comparison, measured) == [
        ("a, freeze 0", "2.000", "1.000", "3.000", "1.00", "100", "1.5 M", "filled"),
        ("b, freeze 0", "0.500", "0.500", "9.000", "4.00", "", "", ""),
        ("a, freeze 4", "1.000", "1.000", "1.000", "1.00", "", "", ""),
    ]
    (axes,) = figure([(comparison, measured)]).axes
    assert [bar.get_width() for bar in axes.patches] == [1, 4, 1]
    head = "| system | median s | fastest | slowest | speed-up |"
    last = {"a, freeze 4": measured["a, freeze 4"]}
    assert table(comparison, last).splitlines()[2] == head  # no empty columns


def test_a_single_system_is_compared_with_its_first_count_of_frozen_stages():
    comparison = by_freeze("one", turn, ["Keel"], freezes=[0, 2])
    assert comparison.base_of("Keel, freeze 2") == "Keel, freeze 0"


def test_a_training_step_moves_the_weights_by_the_gradient():
    network = torch.nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)

    def loss(network):
        return network(torch.full((1, 1), 3.0)).sum()

    step = TrainingStep(network, loss=loss, optimizer=optimizer, bfloat16=False)
    step()
    step()
    assert network.weight.item() == pytest.approx(before - 2 * 0.5 * 3)
