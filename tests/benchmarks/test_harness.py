"""Systems take turns, one round does not count, and a system's memory is its own."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import harness
from benchmarks.harness import Comparison, Measured, Progress, measure
from benchmarks.report import figure, line, rows, table
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


def last(comparison, **limits):
    """What is measured in the end."""
    *_, end = measure(comparison, threads=1, **limits)
    return end.measured


def test_systems_take_turns_and_the_first_round_does_not_count():
    turns = []
    found = last(compared(turns), repeats=2)
    assert turns == ["a", "b"] * 3
    assert [len(one.seconds) for one in found.values()] == [2, 2]


def test_every_step_is_reported_at_once_with_what_counts_so_far():
    turns = []
    steps = [
        (s.round, s.name, list(s.measured)) for s in measure(compared(turns), repeats=1, threads=1)
    ]
    assert steps[:4] == [(0, "a", []), (0, "b", []), (1, "a", ["a"]), (1, "b", ["a", "b"])]
    steps = measure(compared(turns := []), repeats=9, threads=1)
    next(steps)
    assert turns == ["a"]  # nothing is built or measured ahead


def test_without_a_warm_up_every_round_counts():
    turns = []
    found = last(compared(turns, warm_up=False), repeats=2)
    assert turns == ["a", "b"] * 2
    assert [len(one.seconds) for one in found.values()] == [2, 2]


class Clock:
    """A clock that steps move on."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(harness.time, "monotonic", lambda: self.now)

    def step(self, seconds):
        def step():
            self.now += seconds

        return step


@pytest.mark.parametrize(("minutes", "rounds"), [(0.01, 1), (4, 1), (6.1, 2), (99, 5)])
def test_rounds_end_where_the_next_would_not_fit(monkeypatch, minutes, rounds):
    clock = Clock(monkeypatch)
    systems = {name: partial(clock.step, seconds) for name, seconds in (("a", 90), ("b", 30))}
    comparison = Comparison(title="", systems=systems, memory=False)
    found = last(comparison, repeats=5, minutes=minutes)  # a round takes 2 minutes
    assert [len(one.seconds) for one in found.values()] == [rounds] * 2


def test_what_is_left_is_what_the_steps_so_far_foretell(monkeypatch):
    clock = Clock(monkeypatch)
    systems = {name: partial(clock.step, 60) for name in ("a", "b")}
    comparison = Comparison(title="", systems=systems, memory=False)
    steps = list(measure(comparison, repeats=1, threads=1))
    assert [step.left for step in steps] == [180, 120, 60, 0, 0]
    shown = [line(comparison, step) for step in steps]
    assert [text == "all is measured" for text in shown] == [False] * 4 + [True]
    assert shown[3].startswith("  round 1   b ")


def test_what_is_left_ends_with_the_minutes(monkeypatch):
    clock = Clock(monkeypatch)
    systems = {name: partial(clock.step, 60) for name in ("a", "b")}
    comparison = Comparison(title="", systems=systems, memory=False)
    steps = measure(comparison, repeats=9, threads=1, minutes=5)
    assert [step.left for step in steps] == [240, 180, 120, 60, 0]


def test_a_line_compares_with_the_base_and_says_what_is_left():
    comparison = compared([])
    measured = {"a": Measured(seconds=[3.0]), "b": Measured(seconds=[1.5])}
    step = Progress(round=1, name="b", seconds=1.5, left=90, done=False, measured=measured)
    assert " ".join(line(comparison, step).split()) == "round 1 b 1.500 s 2.00 x about 1.5 min left"
    early = Progress(round=0, name="b", seconds=1.5, left=90, done=False, measured={})
    assert " ".join(line(comparison, early).split()) == "warm-up b 1.500 s about 1.5 min left"


def test_results_that_differ_end_the_measurement():
    def check(one, other):
        raise RuntimeError(f"{one} is not {other}")

    with pytest.raises(RuntimeError, match=r"^3 is not 4$"):  # those of the last round
        last(compared([], check=check), repeats=1)


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
    found = last(Comparison(title="", systems=systems), repeats=1)
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
    one = {"a, freeze 4": measured["a, freeze 4"]}
    assert table(comparison, one).splitlines()[2] == head  # no empty columns


def test_a_row_whose_base_is_not_measured_yet_has_no_ratio():
    comparison = Comparison(title="", systems={"a": turn, "b": turn}, base={"a": "b"})
    (row,) = rows(comparison, {"a": Measured(seconds=[1.0])})
    assert row[4] == ""


def test_a_single_system_is_compared_with_its_first_count_of_frozen_stages():
    comparison = by_freeze("one", turn, ["Keel"], freezes=[0, 2])
    assert comparison.base_of("Keel, freeze 2") == "Keel, freeze 0"


@pytest.mark.parametrize(
    ("cpu_bf16", "tuned", "expected"),
    [(True, True, "bf16-mixed"), (False, True, "32-true"), (True, False, "32-true")],
)
def test_a_system_takes_the_precision_of_a_run_and_says_so(monkeypatch, cpu_bf16, tuned, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: cpu_bf16)
    network = torch.nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
    seen = []

    def loss(network):
        out = network(torch.ones(1, 2, 3, 3))
        seen.append(out.dtype)
        return out.float().sum()

    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    step = TrainingStep(network, loss=loss, optimizer=optimizer, tuned=tuned)
    step()
    assert step.note == f"{expected}, channels_last"
    assert seen == [torch.bfloat16 if expected == "bf16-mixed" else torch.float32]


def test_systems_draw_the_same_numbers_in_the_same_round():
    drawn = {}
    for name in ("a", "b"):
        network = torch.nn.Linear(1, 1)

        def loss(network, name=name):
            drawn.setdefault(name, []).append(torch.rand(1).item())
            return network(torch.ones(1, 1)).sum()

        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        drawn[f"{name} step"] = TrainingStep(network, loss=loss, optimizer=optimizer, tuned=False)
    for _ in range(2):
        for name in ("a", "b"):
            drawn[f"{name} step"].prepare()
            drawn[f"{name} step"]()
    assert drawn["a"] == drawn["b"]
    assert drawn["a"][0] != drawn["a"][1]


def test_a_training_step_moves_the_weights_by_the_gradient():
    network = torch.nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)

    def loss(network):
        return network(torch.full((1, 1), 3.0)).sum()

    step = TrainingStep(network, loss=loss, optimizer=optimizer, tuned=False)
    step()
    step()
    assert network.weight.item() == pytest.approx(before - 2 * 0.5 * 3)
