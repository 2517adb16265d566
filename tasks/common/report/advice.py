"""Advice in messages, which names an option as the reader would write it: in a run or elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

_READER: Final[ContextVar[Literal["training", "script", "python"]]] = ContextVar(
    "reader", default="training"
)


@contextmanager
def without_training() -> Iterator[None]:
    """Keep options of training, such as ``on_bad_image``, out of messages."""
    token = _READER.set("script")
    try:
        yield
    finally:
        _READER.reset(token)


@contextmanager
def in_python() -> Iterator[None]:
    """Do the same for programs that call Keel; within `without_training` nothing changes."""
    token = _READER.set("script" if _READER.get() == "script" else "python")
    try:
        yield
    finally:
        _READER.reset(token)


def advice(training: str, *, otherwise: str = "", python: str | None = None) -> str:
    """Return ``training`` in a training run, and ``otherwise`` within `without_training`.

    Within `in_python` it is ``python``, or ``otherwise`` where that is None.
    """
    reader = _READER.get()
    if reader == "training":
        return training
    return otherwise if reader == "script" or python is None else python
