"""Read text and JSON files of any Unicode encoding."""

import codecs
import json
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError

# UTF-32 comes first, since its mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def printable(text: str) -> str:
    r"""Return a text with ``\udcff`` for a byte 0xff that is no UTF-8, as names of files may have.

    >>> printable("b\udcff.png")
    'b\\udcff.png'
    """
    return text.encode(errors="backslashreplace").decode()


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or of a UTF-16 or UTF-32 file with a byte order mark.

    The byte order mark is left out; line ends stay. No other encoding is guessed, since a wrong
    guess changes names silently: bytes that are no text in it are refused, with line and byte.
    """
    content = path.read_bytes()
    return decoded(content, marked(content) or "utf-8", path=path)


def marked(content: bytes) -> str | None:
    """Return Python's name of the encoding that a byte order mark tells, if there is one."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), None)


def decoded(content: bytes, encoding: str, *, path: Path) -> str:
    """Return the text of a file's content; ``path`` is for the message of `read_text`."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} has the byte 0x{content[error.start]:02x}, which is not "
            f"{encoding.removesuffix('-sig').upper()}; expected UTF-8 text. Save the file as UTF-8 "
            f"(from Latin-1: iconv -f LATIN1 -t UTF-8 {path.name})."
        ) from error


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON holds anything
    """Return what a JSON file holds; raise as `read_text`, or UserError with line and column."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "is the file complete?"
        ) from error
    except RecursionError as error:
        raise UserError(f"{path}: JSON that is nested too deeply to be read.") from error
