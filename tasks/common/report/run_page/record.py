"""What the files of a run folder say, whatever of them is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tasks.common.files.text import read_json
from tasks.common.report.logged import read_table

RUN_FILE: Final = "run.json"
_NOT_ENDED: Final = "did not end, or is still running"

Object = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as its folder has it; what is missing or damaged is empty.

    ``run`` is `RUN_FILE`: title, facts of the banner, monitor, options and how the run ended.
    """

    folder: Path
    run: Object
    environment: Object
    metrics: Object
    audit: Object
    logged: Mapping[str, list[float]]  # the columns of metrics.csv

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a run folder, also of an interrupted run or of an earlier version."""
        try:
            logged = read_table(folder / "metrics.csv")
        except (OSError, ValueError):
            logged = {}
        names = {"run": RUN_FILE, "environment": "environment.json", "metrics": "metrics.json"}
        files = {key: _object(folder / name) for key, name in names.items()}
        return cls(folder=folder, audit=_object(folder / "audit.json"), logged=logged, **files)

    @property
    def name(self) -> str:
        """The name of the folder, which is the run's."""
        return self.folder.resolve().name

    @property
    def facts(self) -> Mapping[str, str]:
        """The lines of the banner."""
        facts: Mapping[str, str] = self.run.get("facts", {})
        return facts

    @property
    def ended(self) -> str:
        """How the run ended: ``finished``, or what stopped it."""
        if self.metrics and not self.run:  # of a version that wrote no RUN_FILE
            return "finished"
        return str(self.run.get("ended") or _NOT_ENDED)

    @property
    def monitor(self) -> str:
        """The name of the score that chose the best checkpoint, without its split."""
        return str(self.run.get("monitor", "")).removeprefix("val/")

    @property
    def score(self) -> str:
        """How that score is called, such as ``AP``."""
        return str(self.run.get("score") or self.monitor)


def _object(path: Path) -> Object:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
