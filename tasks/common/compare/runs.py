"""The folders of runs that are compared, read."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from backbones.errors import UserError
from tasks.common.files.paths import contents, existing_folder, is_hidden
from tasks.common.report.run_page.record import RunRecord
from tasks.common.resume.checkpoints import BEST
from tasks.common.resume.trained_file import read_trained

CONFIG: Final = "config.yaml"
_TASK: Final = re.compile(r"tasks\.(\w+)\.")
_STATISTICS: Final = ("running_mean", "running_var", "num_batches_tracked")  # no parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run's folder, and what its files say."""

    folder: Path
    name: str  # short, and of no other run that it is compared with
    task: str
    config: Mapping[str, Any]  # by dotted name
    record: RunRecord

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The content of ``metrics.json``; empty if the run did not end."""
        return self.record.metrics

    @property
    def seconds(self) -> float:
        """How long the run took; NaN if it did not end."""
        return float(self.metrics.get("seconds") or math.nan)

    @property
    def scored_split(self) -> str:
        """``test`` or ``val``."""
        return str(self.metrics.get("scored split", "test"))


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Return the runs in these folders: each is that of a run, or has runs somewhere below it."""
    folders: dict[Path, None] = {}
    for path in paths:
        folder = existing_folder(path, what="folder of a run, or of runs,")
        found = [folder] if (folder / CONFIG).is_file() else sorted(_below(folder))
        if not found:
            raise UserError(
                f"{folder} is no run's folder and has none below it: there is no {CONFIG}. "
                f"{contents(folder)}"
            )
        folders |= dict.fromkeys(place.resolve() for place in found)
    names = _names(list(folders))
    return [_read(folder, name) for folder, name in zip(folders, names, strict=True)]


def curve(run: Run, column: str) -> tuple[list[float], list[float]]:
    """Return the epochs, from 1, and the values of a column of a run's ``metrics.csv``."""
    logged = run.record.logged
    pairs = zip(logged.get("epoch", ()), logged.get(column, ()), strict=False)
    points = [(at + 1, y) for at, y in pairs if math.isfinite(at) and math.isfinite(y)]
    return [epoch for epoch, _ in points], [value for _, value in points]


def parameters(run: Run) -> int | None:
    """Return how many parameters the best checkpoint's network has; None without a checkpoint."""
    try:
        checkpoint = read_trained(run.folder / "checkpoints" / BEST)
    except (OSError, UserError):
        return None
    tensors = checkpoint.get("state_dict", {}).items()
    return sum(
        int(tensor.numel())
        for name, tensor in tensors
        if name.startswith("network.") and not name.endswith(_STATISTICS)
    )


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob(CONFIG):
        if not any(is_hidden(Path(part)) for part in path.relative_to(folder).parts):
            yield path.parent


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of the paths, as few as make all of them different."""
    for length in range(1, 20):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _read(folder: Path, name: str) -> Run:
    try:
        config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} cannot be read: {error}") from error
    flat = dict(_flat(config))
    targets = (value for key, value in flat.items() if key.endswith("_target_"))
    tasks = [found[1] for value in targets if (found := _TASK.match(str(value)))]
    if not tasks:
        raise UserError(
            f"{folder / CONFIG} names no data set of a task (data._target_); it is no "
            "configuration of a run of Keel."
        )
    return Run(
        folder=folder,
        name=name,
        task=tasks[0],
        config=flat,
        record=RunRecord.read(folder),
    )


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (YAML values)
    """Yield the values of nested tables by their dotted names; lists are values."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
