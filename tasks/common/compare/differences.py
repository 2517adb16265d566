"""What differs between the configurations of runs, and between the programs that trained them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tasks.common.compare.runs import Run

ABSENT: Final = "-"
_OF_NO_MATTER: Final = ("run_dir",)  # differs between all runs


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the settings that are not the same in all runs: by name, the value of each run.

    After the options of ``config.yaml`` come the commit, the versions and the machine. What a run
    does not say is a dash.
    """
    told = [dict(run.config) | dict(_environment(run.record.environment)) for run in runs]
    names = dict.fromkeys(name for one in told for name in one if name not in _OF_NO_MATTER)
    rows = {name: [_text(one, name) for one in told] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def _environment(environment: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    git = environment.get("git") or {}
    if "commit" in git:
        changed = git.get("changed files", "0")
        yield "commit", str(git["commit"])[:8] + ("" if changed == "0" else " and changes")
    for name, version in (environment.get("versions") or {}).items():
        yield f"version of {name}", version
    for name in ("python", "processor", "cores", "gpu"):
        if name in environment:
            yield name, environment[name]


def _text(told: Mapping[str, Any], name: str) -> str:
    if name not in told:
        return ABSENT
    value = told[name]
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
