"""What a docstring, a signature or a message names as an option can be set on the command line.

The options are found in the code: the dataclasses that a group is unpacked into, the functions that
a ``_target_`` names, and the keys of the root that are read.
"""

import ast
import importlib
import inspect
import json
import re
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest
from hydra import compose
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from tasks.detection.options import DataOptions as DetectionData
from tasks.segmentation.options import DataOptions as SegmentationData
from tests.configs.test_detection import TASK as DETECTION
from tests.configs.test_segmentation import TASK as SEGMENTATION

SOURCES = Path(__file__).parents[2]
TASKS = {"detection": DETECTION, "segmentation": SEGMENTATION}
GROUPS = ("backbone", "model", "recipe", "augment", "trainer", "cache", "data", "input", "loss")


def modules(*folders):
    """The modules of folders of ``tasks``, with their syntax trees."""
    for folder in folders:
        for path in sorted((SOURCES / "tasks" / folder).rglob("*.py")):
            name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def root_key(node):
    """``x`` of ``cfg.x``, or None."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id == "cfg" else None
    return None


@cache
def unpacked(task):
    """Of each group of a task, the dataclass that its keys become: ``Made(**...cfg.group...)``."""
    found = {"data": SegmentationData if task == "segmentation" else DetectionData}
    for name, tree in modules(task):
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            for keyword in (k for k in call.keywords if k.arg is None):
                keys = {root_key(n) for n in ast.walk(keyword.value)} - {None}
                if keys and isinstance(call.func, ast.Name):
                    found[keys.pop()] = getattr(importlib.import_module(name), call.func.id)
    return found


@cache
def reads(task):
    """The keys of the root configuration that the code of a task reads."""
    trees = [tree for _, tree in modules(task, "common")]
    return {root_key(n) for tree in trees for n in ast.walk(tree)} - {None, "copy"}


def documented(thing):
    """The names that a docstring explains under Attributes or Args."""
    text = inspect.getdoc(thing) or ""
    found = re.search(r"^(Attributes|Args):\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    return set(re.findall(r"^    (\w+):", found[2], re.MULTILINE)) if found else set()


@cache
def configurations(task):
    """The configuration of a task for each file of each group."""
    with TASKS[task].hydra():
        apart = ("debug", "experiment", "recipe")  # no groups of keys, or all with the same
        options = [o for o in TASKS[task].options if o.partition("=")[0] not in apart]
        return {option: TASKS[task].composed(option) for option in options}


@pytest.fixture(params=TASKS)
def composed(request):
    configs = configurations(request.param)
    with TASKS[request.param].hydra():
        yield request.param, configs


def given(cfg, names):
    """Overrides that set every name to the value that it has."""
    for name in names:
        node, _, key = name.rpartition(".")
        assert key in OmegaConf.select(cfg, node), f"{name} cannot be set"
        value = OmegaConf.to_container(cfg)
        for part in name.split("."):
            value = value[part]
        if not isinstance(value, dict):  # its keys are the user's
            yield f"{name}={json.dumps(value)}"


def test_every_field_of_an_options_class_can_be_set(composed):
    task, configs = composed
    for option, cfg in configs.items():
        names = [
            f"{group}.{field.name}"
            for group, made in unpacked(task).items()
            for field in fields(made)
        ]
        overrides = list(given(cfg, names))
        assert len(overrides) > 40
        if option in ("data=sample", "augment=strong"):
            compose(task, overrides=[option, *overrides])  # Hydra refuses an unknown key


def targets(node, prefix=""):
    """Every node with a ``_target_``, by its dotted name."""
    for key, value in node.items_ex(resolve=False):
        if isinstance(value, DictConfig) and not value._is_none():
            if "_target_" in value:
                yield f"{prefix}{key}", value
            yield from targets(value, f"{prefix}{key}.")


def test_every_argument_of_a_target_can_be_set(composed):
    task, configs = composed
    for option, cfg in configs.items():
        found = dict(targets(cfg))
        assert "data" in found
        for name, node in found.items():
            function = get_method(node["_target_"])
            arguments = set(inspect.signature(function).parameters)
            assert arguments - set(node) == set(), f"{function.__name__} of {option}"
            made = unpacked(task).get(name)
            taken = {field.name for field in fields(made)} if made else set()
            assert set(node) - {"_target_"} <= arguments | taken
            assert documented(function) == arguments
            if option.startswith(f"{name}="):
                overrides = given(cfg, [f"{name}.{argument}" for argument in arguments])
                compose(task, overrides=[option, *overrides])


def test_every_key_that_is_read_is_there_and_every_key_that_is_there_is_read(composed):
    task, configs = composed
    for cfg in configs.values():
        assert set(cfg) == reads(task)


@pytest.mark.parametrize("task", TASKS)
def test_every_field_is_explained(task):
    for made in unpacked(task).values():
        assert documented(made) == {field.name for field in fields(made)}, made


def test_no_options_class_is_left_out():
    """A dataclass that is called so and that no group becomes would be out of a user's reach."""
    classes = set()
    for name, _ in modules("common", *TASKS):
        found = vars(importlib.import_module(name)).values()
        classes |= {
            c
            for c in found
            if isinstance(c, type)
            and is_dataclass(c)
            and not c.__module__.startswith("backbones.")
            and c.__name__.endswith("Options")
        }
    reached = {made for task in TASKS for made in unpacked(task).values()}
    assert {c.__name__ for c in classes - reached} == {"_RecipeOptions"}  # the schema of Recipe


NO_FILE = r"(?!(?:csv|py|json)\b)"
SET = re.compile(rf"(?<![\w./])({'|'.join(GROUPS)})\.([a-z][a-z0-9_]*)=(?![= ])")  # on a page
NAMED = re.compile(rf"(?<![\w./])({'|'.join(GROUPS)})\.{NO_FILE}([a-z][a-z0-9_]*)(?![\w(/])")


def texts(tree):
    """Every string of a module: docstrings, messages and their parts."""
    return [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is str]


def test_every_option_that_a_message_or_a_docstring_names_exists():
    known = {
        task: {
            f"{group}.{key}"
            for cfg in configurations(task).values()
            for group in GROUPS
            if group in cfg
            for key in cfg[group]
        }
        for task in TASKS
    }
    everything = known["detection"] | known["segmentation"]
    for folder, options in {**known, "common": everything}.items():
        for name, tree in modules(folder):
            named = {f"{g}.{k}" for text in texts(tree) for g, k in NAMED.findall(text)}
            assert named - options == set(), name
    for page in (SOURCES / "README.md", *sorted((SOURCES / "docs").glob("*.md"))):
        named = {f"{g}.{k}" for g, k in SET.findall(page.read_text())}
        assert named - everything == set(), page.name
