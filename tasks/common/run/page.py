"""The report.html of a run: what is kept for it at the start, and how it is written at the end."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from backbones.errors import UserError
from tasks.common.files.text import read_json
from tasks.common.options.limits import Options
from tasks.common.report.page.blocks import Section
from tasks.common.report.run_folder import write_environment, write_json, write_text
from tasks.common.report.run_page.record import RUN_FILE
from tasks.common.run.config import Training, plain_values
from tasks.common.run.task import PartsT, Task


def begin_folder(
    folder: Path, task: Task[PartsT], *, facts: Mapping[str, str], cfg: DictConfig
) -> None:
    """Write what the folder of a run has from its start on: all that its page needs later."""
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_environment(folder)
    record = {
        "title": task.title,
        "facts": facts,
        "monitor": task.monitor,
        "score": task.score,
        "shown": task.shown,
        "options": changed_options(cfg, task.training),
        "ended": None,
    }
    write_json(folder / RUN_FILE, record)


def end_page(folder: Path, sections: Sequence[Section] = (), *, ended: str) -> Path:
    """Note how a run has ended, and write its report.html from what is there; return its path."""
    from tasks.common.report.run_page.page import write_run_page

    record = read_json(folder / RUN_FILE)  # refused if the folder is gone: nothing is made anew
    write_json(folder / RUN_FILE, {**record, "ended": ended})
    return write_run_page(folder, sections)


def how_it_ended(error: BaseException) -> str:
    """Return what ended a training, in words that follow "this run was".

    >>> how_it_ended(SystemExit(143)), how_it_ended(ValueError("no"))
    ('interrupted by SIGTERM', 'stopped by an error (ValueError: no)')
    """
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return f"interrupted by {signal.Signals(error.code - 128).name}"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return f"interrupted by {signal.SIGINT.name}"
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return f"stopped by an error ({kind}{error})"


def changed_options(cfg: DictConfig, training: Training) -> list[dict[str, str | None]]:
    """Return name, value and default of each option that has another value than its default.

    A default is that of the option's dataclass; None if it has none, as the paths of a data set.
    """
    groups = {**training.groups, "data": training.data}
    defaults = _defaults(training.options, "")
    for group, options in groups.items():
        defaults |= _defaults(options, f"{group}.")
    given: dict[str, Any] = {}
    for name in map(str, cfg):
        inner = plain_values(cfg[name]) if name in groups else {"": cfg[name]}
        given |= {f"{name}.{key}".rstrip("."): value for key, value in inner.items()}
    layout = given.pop("data._target_", None)
    changed = [
        {"option": name, "value": _text(value), "default": _default_text(defaults, name)}
        for name, value in given.items()
        if value != defaults.get(name)
    ]
    shown = {"option": "data", "value": str(layout).split(".")[-2], "default": None}
    return [*([shown] if layout else []), *changed]


def _defaults(options: type[Options], prefix: str) -> dict[str, Any]:
    found = {}
    for field in fields(options):
        if field.default is not MISSING:
            found[f"{prefix}{field.name}"] = field.default
        elif field.default_factory is not MISSING:
            found[f"{prefix}{field.name}"] = field.default_factory()
    return found


def _default_text(defaults: Mapping[str, Any], name: str) -> str | None:
    return _text(defaults[name]) if name in defaults else None


def _text(value: Any) -> str:  # noqa: ANN401 (whatever an option takes)
    """Return a value as a command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_text(item)}' for key, item in value.items())}}}"
    return str(value)
