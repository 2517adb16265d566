"""The names that are known without torch are those of the tables."""

from backbones import NORMS, names
from backbones.resnet.init import INITS
from backbones.weights.conventions import CONVENTIONS


def test_the_names_are_the_keys_of_the_tables():
    assert set(names.NORM_NAMES) == set(NORMS)
    assert set(names.INIT_NAMES) == set(INITS)
    assert set(names.CONVENTION_NAMES) == set(CONVENTIONS)
