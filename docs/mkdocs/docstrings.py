"""Docstrings as Markdown, which writes doctests and tables otherwise."""

import re
from collections.abc import Iterator
from typing import Any, Final

from griffe import Extension

_EXAMPLE: Final = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
_TABLE: Final = re.compile(
    r"^(?P<rule>=+(?: +=+)+)\n(?P<head>(?:.*\n)+?)(?P=rule)\n(?P<body>(?:.*\n)+?)(?P=rule)$",
    re.MULTILINE,
)


class Markdown(Extension):
    """Changes the docstrings that mkdocstrings shows."""

    def on_object(self, *, obj: Any, **_: Any) -> None:  # noqa: ANN401 (griffe's)
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring with its doctests as blocks of code, and its tables as Markdown's."""
    fenced = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
    return _TABLE.sub(_table, fenced)


def _table(found: re.Match[str]) -> str:
    starts = [run.start() for run in re.finditer("=+", found["rule"])]
    (head,) = _rows(found["head"], starts, whole=True)
    rows = [head, *_rows(found["body"], starts)]
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([lines[0], "|---" * len(starts) + "|", *lines[1:]])


def _rows(text: str, starts: list[int], *, whole: bool = False) -> Iterator[list[str]]:
    """Yield the cells of each row; a line without a first cell goes on with the row before."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        cells = [
            line[a:b].strip().replace("|", r"\|")
            for a, b in zip(starts, [*starts[1:], None], strict=True)
        ]
        if rows and (whole or not cells[0]):
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    yield from rows
