"""Messages name the options of the command that is running."""

import pytest

from tasks.common.report.advice import advice, without_training


def test_options_of_training_are_named_in_training_only():
    with without_training():
        assert advice("set data.classes", otherwise="repair the mask") == "repair the mask"
        assert advice("; on_bad_image=skip") == ""
    with pytest.raises(ValueError, match="x"), without_training():
        raise ValueError("x")
    assert advice("set data.classes", otherwise="repair the mask") == "set data.classes"
