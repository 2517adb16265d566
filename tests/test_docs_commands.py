"""Every command of the documents is one that its script accepts, or has its reason here."""

import re
import runpy
import shlex
import sys
import tomllib
from argparse import ArgumentParser
from itertools import product
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from backbones.errors import UserError
from tasks.common.run.command_line import check_overrides, training_help, with_text_tables
from tests.configs.conftest import TRAININGS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = {path.name for path in (ROOT / "scripts").glob("*.py")}
TRAINED = {training.script: training for training in TRAININGS.values()}

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHORT = re.compile(r"\.\.\.`?\s+is[^=]{0,60}?((?:[\w.]+=[^\s`]+ ?)+)")  # what ... stands for
PREFIX = re.compile(r"^(?:[A-Z_]+=\S+ |srun )+")
VARIABLE = re.compile(r"\$\{?[A-Z_]+\}?")

NOT_RUN = {  # how a command begins: why no test runs it
    "export ": "of the shell",
    "python -m venv ": "of Python",
    "sbatch ": "needs SLURM",
    "source ": "of the shell",
    "tensorboard ": "serves until it is stopped",
}


def commands(text):
    """Yield each command of a document's bash blocks, with what ... stands for put in."""
    for block in BLOCK.finditer(text):
        for line in re.sub(r"\\\n\s*", "", block[1]).splitlines():
            shorts = SHORT.findall(text[: block.start(1)] + block[1].partition(line)[0])
            command = re.sub(r"(^|\s)#.*", "", line).strip()
            if " ... " in f"{command} " and shorts:
                command = command.replace("...", shorts[-1].strip(), 1)
            if command:
                yield VARIABLE.sub("0", PREFIX.sub("", command))


FOUND = [
    pytest.param(command, id=f"{path.relative_to(ROOT)}: {command}")
    for path in DOCUMENTS
    for command in dict.fromkeys(commands(path.read_text(encoding="utf-8")))
]


class Parsed(BaseException):
    """The command line was accepted; nothing else is done."""


@pytest.fixture
def parse(monkeypatch):
    """Return what runs a script up to the point where its arguments are accepted."""
    original = ArgumentParser.parse_args

    def stop(self, *arguments):
        original(self, *arguments)
        raise Parsed

    def run(script, arguments):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        monkeypatch.setattr(ArgumentParser, "parse_args", stop)
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            assert not end.code, end.code
        except Parsed:
            pass

    return run


def swept(arguments):
    """Yield the command lines of a sweep."""
    overrides = [a for a in arguments if a not in ("-m", "--multirun")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    several = [
        list(o.sweep_string_iterator()) if o.is_sweep_override() else [o.get_value_element_as_str()]
        for o in parsed
    ]
    for values in product(*several):
        yield [f"{o.key_or_group}={v}" for o, v in zip(parsed, values, strict=True)]


def check_training(training, arguments):
    """Raise the error that the script would print, before it reads any data."""
    lines = swept(arguments) if {"-m", "--multirun"} & {*arguments} else [arguments]
    for line in lines:
        if {"-h", "--help"} & {*line}:
            assert training_help(training, line)
        else:
            assert check_overrides(training, with_text_tables(line)) is not None


def check_install(arguments):
    """Refuse an extra that the project does not have."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r"\[([\w,-]+)\]", " ".join(arguments)):
        assert {*extra.split(",")} <= {*extras}


def check(command, parse):
    """Run a command as far as its options are accepted."""
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {*arguments} <= {*targets}
    elif program == "pip" and arguments[0] == "install":
        check_install(arguments)
    elif program == "python" and arguments and Path(arguments[0]).name in SCRIPTS:
        script, *rest = arguments
        if script in TRAINED:
            check_training(TRAINED[script], rest)
        else:
            parse(script, rest)
    else:
        pytest.fail(f"{command!r}: let a test run it, or say in NOT_RUN why none does")


def reason(command):
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


@pytest.mark.parametrize("command", FOUND)
def test_every_command_of_the_documents_is_accepted(command, parse):
    if reason(command) is None:
        check(command, parse)


def test_every_reason_is_needed():
    found = [param.values[0] for param in FOUND]
    assert [s for s in NOT_RUN if not any(command.startswith(s) for command in found)] == []


def test_commands_are_found_with_their_abbreviations():
    text = (
        "`...` is\nthe data: `data=coco data.root=/d`.\n```bash\n# a comment\nA=1 python x.py ...  # b\n"
        "srun python y.py \\\n  a=$SLURM_ID\n```\n```bash\n# below, ... is: data=voc\npython x.py ... c=1\n```\n"
    )
    assert list(commands(text)) == [
        "python x.py data=coco data.root=/d",
        "python y.py a=0",
        "python x.py data=voc c=1",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "python scripts/train_det.py data=coco data.root=/d recipe.eopchs=3",
        "python scripts/train_seg.py -m data=folder data.root=/d data.fold=0,9",
        "python scripts/train_det.py data=coco",
    ],
)
def test_a_wrong_option_is_noticed(command, parse):
    with pytest.raises(UserError):
        check(command, parse)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("python scripts/predict.py RUN images --regons", "SystemExit"),
        ("python scripts/export.py RUN", "SystemExit"),
        ("pip install '.[onnx]'", "AssertionError"),
        ("make everything", "AssertionError"),
        ("python scripts/train.py", "Failed"),
    ],
)
def test_another_wrong_command_is_noticed(command, error, parse):
    with pytest.raises(BaseException) as raised:  # noqa: PT011 (of several kinds)
        check(command, parse)
    assert raised.type.__name__ in (error, "AssertionError")
