"""Export: a folder that appears complete or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from uuid import uuid4

from tasks.common.export import keel_runtime
from tasks.common.export.formats import FORMATS
from tasks.common.export.metadata import NAME
from tasks.common.export.subject import Request, Subject


def export(subject: Subject, request: Request) -> Iterator[str]:
    """Write a network in a format to ``request.output``; yield what is worth knowing, by lines.

    Formats that are ONNX files get `keel_runtime` beside them. UserError if a file does not find
    what the network does; then nothing is written.
    """
    row = FORMATS[request.format]
    with _staged(request.output) as folder:
        if row.runtime:
            shutil.copyfile(keel_runtime.__file__, folder / "keel_runtime.py")
        yield from resolve_name(row.write)(subject, request, folder)
        names = sorted(path.name for path in folder.iterdir())
    yield f"{', '.join(names)} are in {request.output}"


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside ``output`` whose files move there on success."""
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f".{output.name}.{uuid4().hex}")
    folder.mkdir()
    try:
        yield folder
        output.mkdir(exist_ok=True)
        for name in _earlier(output):
            (output / name).unlink(missing_ok=True)
        # What describes the files comes last: a folder with it is whole.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == NAME):
            path.replace(output / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _earlier(output: Path) -> list[str]:
    """Return the names of the files of an earlier export, by its metadata, which go."""
    try:
        files = json.loads((output / NAME).read_text(encoding="utf-8"))["files"]
        return [NAME, *(name for name in files if Path(name).name == name)]
    except (OSError, ValueError, LookupError, TypeError):
        return []
