"""What the tests of the figures and of the page share: five backbones, counted once."""

import pytest

from benchmarks.study.catalogue import facts
from benchmarks.study.formulas import FOUNDING


@pytest.fixture(scope="session")
def counted():
    return {name: facts(name) for name in FOUNDING}
