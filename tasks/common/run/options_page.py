"""The reference of a training script's options as Markdown, from the dataclasses and the files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf

from tasks.common.run.config import CONFIGS, Training
from tasks.common.run.help import GROUPS, Described, described, docstring, explained, written

_GENERATED: Final = "sample"  # the layout of the generated set, which sets options of other groups
_CODE: Final = re.compile(r"`+([^`]+)`+")

_INTRODUCTION: Final = """\
# Options of `{name}`

`python {script}` trains {title}.

`OPTION=VALUE` on the command line sets an option, `GROUP=CHOICE` several at once, wherever it
stands in the line. The defaults below are those of a run on your own data. Without `data=` the
generated set is trained on, with other defaults: `--help` shows those of any command that it is
added to. `debug=one_step` takes one step and one validation. This page is made from the code.
"""


def options_page(training: Training) -> str:
    """Return the page: every option with its default, its limits and its meaning, by group."""
    layouts = _files(training, "data")
    own = next(name for name in layouts if name != _GENERATED)
    options = described(training, training.compose([f"data={own}"]))
    usual = _usual(training)
    name, shared = Path(training.script).name, {f"data.{f.name}" for f in fields(training.data)}
    lines = [
        _INTRODUCTION.format(
            name=name, script=training.script, title=training.title.partition(";")[0]
        )
    ]
    lines += ["## The run", "", *_table({k: v for k, v in options.items() if "." not in k})]
    for group, meaning in GROUPS.items():
        files = {} if group in ("backbone", "data") else _files(training, group)
        inside = {k: v for k, v in options.items() if k.startswith(f"{group}.")}
        if group == "data":
            inside = {k: v for k, v in inside.items() if k in shared}
        if inside or files:
            lines += [f"## `{group}`", "", _sentence(meaning), ""]
        lines += [*_table(inside), *_choices(files, group, usual=usual.get(group))]
        if group == "data":
            lines += _layouts(layouts)
    return "\n".join(lines)


def _layouts(files: Mapping[str, Path]) -> Iterator[str]:
    """Yield a section for each layout of a data set, with the options that it alone has."""
    for name, path in files.items():
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        values = content.get("data", content)  # of a file that sets other groups as well
        said = explained(docstring(values["_target_"])) if "_target_" in values else {}
        own = {
            f"data.{key}": Described(value=written(value), text=said[key], takes="")
            for key, value in values.items()
            if key in said
        }
        yield from (f"### `data={name}`", "", _header(path), "", *_table(own))


def _table(options: Mapping[str, Described]) -> Iterator[str]:
    """Yield a table of options, each of which can be linked to by its name."""
    if not options:
        return
    yield from ("| option | default | meaning |", "|---|---|---|")
    for name, option in options.items():
        takes = f" Takes {option.takes}." if option.takes else ""
        yield f"| `{name}` | `{option.value}` | {_cell(option.text + takes)} |"
    yield ""


def _choices(files: Mapping[str, Path], group: str, *, usual: str | None) -> Iterator[str]:
    """Yield the table of a group's files: what each is for, and what it sets."""
    if not files:
        return
    yield from ("| choice | sets | for |", "|---|---|---|")
    for name, path in files.items():
        sets = ", ".join(f"`{option}={value}`" for option, value in _set(path, group))
        default = " (default)" if name == usual else ""
        yield f"| `{group}={name}`{default} | {sets} | {_cell(_header(path))} |"
    yield ""


def _files(training: Training, group: str) -> dict[str, Path]:
    """Return the files of a group by the names of its choices, the task's own first."""
    folders = training.configs / group, CONFIGS / group
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def _usual(training: Training) -> dict[str, str | None]:
    """Return the choice of each group that is taken where none is named."""
    root: Any = OmegaConf.to_container(OmegaConf.load(training.configs / f"{training.task}.yaml"))
    return {k: v for entry in root["defaults"] if isinstance(entry, dict) for k, v in entry.items()}


def _header(path: Path) -> str:
    """Return the first comment of a file that is no instruction to Hydra."""
    lines = [line[1:].strip() for line in path.read_text("utf-8").splitlines() if line[:1] == "#"]
    return next((line for line in lines if not line.startswith("@")), "")


def _set(path: Path, group: str) -> Iterator[tuple[str, str]]:
    """Yield the options that a file sets, with their values."""
    values: Any = OmegaConf.to_container(OmegaConf.load(path))
    for key, value in values.items():
        if key == "defaults":
            chosen = [item for item in value if isinstance(item, dict)]
            yield from ((k.rpartition("/")[2], v) for item in chosen for k, v in item.items())
        elif group == "experiment":
            yield from ((f"{key}.{inner}", written(its)) for inner, its in value.items())
        else:
            yield f"{group}.{key}", written(value)


def _sentence(text: str) -> str:
    return f"{_cell(text[:1].upper() + text[1:])}."


def _cell(text: str) -> str:
    """Return a text of a docstring as a cell of a table: what is no code has no markup."""
    parts = _CODE.split(text)
    plain = [part.replace("<", "&lt;").replace("|", r"\|") for part in parts[::2]]
    code = [f"`{part}`" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(plain, [*code, ""], strict=True))
