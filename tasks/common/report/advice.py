"""Advice in messages, which names options of training only where a run trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_TRAINS: Final = ContextVar("trains", default=True)


@contextmanager
def without_training() -> Iterator[None]:
    """Keep options of training, such as ``on_bad_image``, out of messages."""
    token = _TRAINS.set(False)
    try:
        yield
    finally:
        _TRAINS.reset(token)


def advice(training: str, *, otherwise: str = "") -> str:
    """Return ``training`` in a training run, and ``otherwise`` within `without_training`."""
    return training if _TRAINS.get() else otherwise
