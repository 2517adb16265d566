"""The learning rate over time, by hand-computed values and by torch's own schedule."""

import math

import pytest
import torch

from tasks.common.recipe.optim import warmup_cosine


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


def test_warm_restarts_are_those_of_torch():
    """Three periods of 4 steps; torch counts them from step 0."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=4, eta_min=0.1)
    for step in range(12):
        ours = warmup_cosine(step, warmup=0, total=12, final=0.1, restarts=2)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert warmup_cosine(12, warmup=0, total=12, final=0.1, restarts=2) == pytest.approx(0.1)


def test_periods_begin_at_1_after_the_rise_whatever_the_number_of_steps():
    """16 steps after a rise of 3, in thirds of 5 1/3: they begin at 3, 8 1/3 and 13 2/3."""
    factors = [warmup_cosine(s, warmup=3, total=19, restarts=2) for s in range(20)]
    rises = [step for step in range(1, 20) if factors[step] > factors[step - 1]]
    assert rises == [1, 2, 3, 9, 14]
    third = 0.5 * (1 + math.cos(math.pi * (2 / 3) / (16 / 3)))  # 2/3 of a step into the period
    assert factors[9] == pytest.approx(third)
