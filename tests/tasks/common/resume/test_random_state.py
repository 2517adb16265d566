"""The generators that every process has."""

import io
import random

import numpy as np
import pytest
import torch

from tasks.common.resume.random_state import read_state, write_state


def draw():
    """From each generator, normal numbers included, of which every second one is kept back."""
    numbers = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]  # noqa: NPY002, S311
    return [*numbers, torch.rand(()).item(), torch.randn(()).item()]


def test_the_state_that_was_saved_draws_the_same_again():
    draw()  # in the middle of a pair
    file = io.BytesIO()
    torch.save(read_state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    first, second = draw(), draw()
    assert first != second
    write_state(state)
    assert [draw(), draw()] == [first, second]


@pytest.mark.gpu
def test_the_device_draws_the_same_again():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.rand((), device="cuda")
    state = read_state()
    first = torch.rand(5, device="cuda")
    write_state(state)
    assert torch.equal(torch.rand(5, device="cuda"), first)


def test_the_state_of_a_device_is_left_out_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    state = read_state()
    assert state["cuda"] is None
    write_state(state | {"cuda": torch.zeros(16, dtype=torch.uint8)})
