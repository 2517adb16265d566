"""What weights have been through: the files that they were in, and the runs that trained them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

_DIGITS: Final = 8  # of a hash, in the text
_TEXTS: Final = ("source", "sha256", "task", "data", "date", "keel")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A weight file that was read, or a run that trained the weights; empty fields are unknown.

    Attributes:
        source: The name of the file, or the tag or address that named it; empty for a run.
        sha256: The hash of the file; of a run, that of the checkpoint from which the weights were
            taken, as soon as they have been.
        task: What a run trained, such as ``detection``; empty for a file.
        data: The name of a run's data set.
        date: The day of a run, such as 2026-11-28.
        keel: The version of Keel that trained.
    """

    source: str = ""
    sha256: str = ""
    task: str = ""
    data: str = ""
    date: str = ""
    keel: str = ""

    def __str__(self) -> str:
        """Return the step for the banner."""
        name = self.source or " on ".join(filter(None, [self.task, self.data]))
        known = [self.date, f"sha256 {self.sha256[:_DIGITS]}" if self.sha256 else ""]
        details = ", ".join(filter(None, known))
        return f"{name} ({details})" if details else name


Lineage = tuple[Step, ...]
"""Steps in order, the oldest first; none for weights that were drawn at random."""


def lineage_text(lineage: Lineage) -> str:
    """Return the steps for a banner.

    >>> lineage_text((Step(source="a.pth", sha256="0123456789"), Step(task="detection", data="x")))
    'a.pth (sha256 01234567) -> detection on x'
    """
    first = [] if lineage and lineage[0].source else ["random initialisation"]
    return " -> ".join([*first, *map(str, lineage)])


def read_from(lineage: Lineage, path: Path, *, label: str) -> Lineage:
    """Return the lineage of weights that were read from a file, which states ``lineage``.

    The hash of the file goes to the run that wrote it, if it is the last step and has none; any
    other file becomes a step of its own, called by its name, or by ``label`` (``hf:``, ``timm:``).
    """
    sha256 = sha256_of(path)
    if lineage and not lineage[-1].sha256:
        return (*lineage[:-1], replace(lineage[-1], sha256=sha256))
    name = label if label.startswith(("hf:", "timm:")) else path.name
    return (*lineage, Step(source=name, sha256=sha256))


def lineage_of(values: Any) -> Lineage:  # noqa: ANN401 (whatever a file holds)
    """Return the lineage that a file states as a list of mappings; none if it is no such list."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return ()
    steps = []
    for entry in values:
        if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
            return ()
        steps.append(Step(**{name: entry[name] for name in _TEXTS if name in entry}))
    return tuple(steps)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
