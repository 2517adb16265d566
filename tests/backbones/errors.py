"""The errors that a user gets."""

import pytest

from backbones import UserError


def refuses(message):
    """Expect a `UserError` that matches."""
    return pytest.raises(UserError, match=message)
