"""Export: a folder that appears complete or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from uuid import uuid4

from tasks.common.export import keel_runtime
from tasks.common.export.formats import FORMATS
from tasks.common.export.subject import Request, Subject


def export(subject: Subject, request: Request) -> Iterator[str]:
    """Write a network in a format to ``request.output``; yield what is worth knowing, by lines.

    ONNX files get `keel_runtime` beside them. UserError if a file does not find what the network
    does; then nothing is written.
    """
    write = resolve_name(FORMATS[request.format].write)
    with _staged(request.output) as folder:
        yield from write(subject, request, folder)
        if any(folder.glob("*.onnx")):
            shutil.copyfile(keel_runtime.__file__, folder / "keel_runtime.py")
        names = sorted(path.name for path in folder.iterdir())
    yield f"{', '.join(names)} are in {request.output}"


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside ``output`` whose files move there on success."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f".{output.name}.{uuid4().hex}")
    folder.mkdir()
    try:
        yield folder
        output.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.replace(output / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
