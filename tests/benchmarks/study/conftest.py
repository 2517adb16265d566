"""Five backbones, counted once."""

import pytest

from benchmarks.study.costs import facts
from benchmarks.study.published import FOUNDING


@pytest.fixture(scope="session")
def counted():
    return {name: facts(name) for name in FOUNDING}
