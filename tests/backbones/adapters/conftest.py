"""What the tests of every adapter need."""

import pytest
import torch


@pytest.fixture
def image():
    """A picture of one size that every backbone takes: (2, 3, 64, 64)."""
    return torch.rand(2, 3, 64, 64)
