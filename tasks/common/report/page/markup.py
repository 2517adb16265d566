"""HTML that cannot be broken by what stands in it: every text is escaped unless it is `Markup`."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

Attributes = Mapping[str, str | int | float | bool | None]

_VOID: Final = {"br", "img", "input", "meta"}  # elements without content


class Markup(str):
    """A text that is HTML already; made by `element` and `joined` only, and of our own files."""

    __slots__ = ()


def element(name: str, attributes: Attributes | None = None, *children: str) -> Markup:
    """Return an element; attributes that are None or False are left out, True is written bare.

    >>> element("p", {"class": "note", "hidden": True, "id": None}, "a < b")
    '<p class="note" hidden>a &lt; b</p>'
    """
    given = (attributes or {}).items()
    shown = [
        name if value is True else f'{name}="{escape(str(value))}"'
        for name, value in given
        if value is not None and value is not False
    ]
    start = " ".join([name, *shown])
    if name in _VOID:
        return Markup(f"<{start}>")
    return Markup(f"<{start}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Return the parts as one, with every text in them escaped."""
    return Markup("".join(p if isinstance(p, Markup) else escape(p) for p in parts))
