"""Messages name the options of the command that is running."""

import pytest

from tasks.common.report.advice import advice, without_training


def test_options_of_training_are_named_in_training_only():
    def said():
        return advice("set data.classes", otherwise="repair the mask")

    assert said() == "set data.classes"
    with without_training():
        assert said() == "repair the mask"
        assert advice("; on_bad_image=skip") == ""
    assert said() == "set data.classes"


def test_an_error_ends_it():
    with pytest.raises(ValueError, match="x"), without_training():
        raise ValueError("x")
    assert advice("a", otherwise="b") == "a"
