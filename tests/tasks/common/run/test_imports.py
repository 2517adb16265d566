"""What a script's imports leave as it was: searches for garbage, and what there is for others."""

import gc
from importlib import import_module

import pytest
import torch  # noqa: F401 (with it, nothing is left to be imported)
from lightning_utilities.core import imports
from lightning_utilities.core.imports import RequirementCache

from tasks.common.run.imports import no_garbage, no_unused_metrics


def test_where_torch_is_there_garbage_is_looked_for_as_before():
    before = gc.isenabled(), gc.get_freeze_count()
    with no_garbage():
        assert gc.isenabled()
    assert (gc.isenabled(), gc.get_freeze_count()) == before


def test_only_the_packages_that_no_run_has_metrics_of_are_said_to_be_missing():
    with no_unused_metrics():
        asked = RequirementCache("scipy>=1.8.0"), RequirementCache("matplotlib")
        assert [bool(one) for one in asked] == [False, False]
        assert RequirementCache("torch>=2.1.0")
        assert imports.package_available("numpy")
        assert not imports.package_available("scipy")
        assert not imports.package_available("not_there")
    assert str(asked[0]) == "scipy>=1.8.0 is left out by Keel"
    assert RequirementCache("scipy>=1.8.0")
    assert imports.package_available("scipy")


def test_an_import_that_fails_changes_nothing_for_good():
    with pytest.raises(ModuleNotFoundError), no_unused_metrics():
        import_module("not_there")
    assert RequirementCache("scipy")
    assert imports.package_available("scipy")
