"""The public surface of `backbones`: complete, sorted, light to import, and nothing vanishes."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import backbones

PROMISED = {  # released names; taking one away breaks somebody's code
    *("FPN", "NORMS", "Backbone", "BackboneOptions", "BackboneWithFPN", "Conventions"),
    *("LoadReport", "UserError", "build_backbone", "from_pretrained", "fuse", "list_backbones"),
    *("load_weights", "norm_factory", "register_backbone", "save_pretrained"),
}
TOO_HEAVY = {
    *("albumentations", "cv2", "huggingface_hub", "hydra", "lightning", "matplotlib", "omegaconf"),
    *("pycocotools", "rich", "segmentation_models_pytorch", "tasks", "timm", "transformers"),
}


def test_all_is_sorted_constants_then_classes_then_functions():
    def kind(name):
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert backbones.__all__ == sorted(backbones.__all__, key=kind)


def test_all_is_exactly_what_can_be_imported():
    public = {
        name
        for name in dir(backbones)
        if not name.startswith("_") and not isinstance(getattr(backbones, name), ModuleType)
    }
    assert set(backbones.__all__) == public - {"TYPE_CHECKING", "resolve_name"}
    with pytest.raises(AttributeError, match="module 'backbones' has no attribute 'build'"):
        backbones.build  # noqa: B018 (getting it is the test)


def test_no_promised_name_has_vanished():
    assert set(backbones.__all__) >= PROMISED


@pytest.mark.parametrize("name", [n for n in backbones.__all__ if not n.isupper()])
def test_every_public_name_is_documented_and_takes_no_stray_keywords(name):
    value = getattr(backbones, name)
    assert value.__doc__, f"{name} has no docstring"
    call = vars(value).get("__init__") if inspect.isclass(value) else value
    if call is not None:
        kinds = {p.kind for p in inspect.signature(call).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{name} takes **kwargs"


def imported(program, *, after="pass"):
    """Return the modules that a program imports in a process of its own, after another one."""
    counted = (
        f"import json, sys; {after}; before = {{*sys.modules}}; {program}; "
        "print(json.dumps(sorted({*sys.modules} - before)))"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", counted], cwd=root, capture_output=True, check=True)
    return json.loads(run.stdout)


def packages(modules):
    """Return the top-level packages of modules."""
    return {name.partition(".")[0] for name in modules}


def test_names_are_listed_and_checked_without_torch():
    modules = imported(
        "import backbones, backbones.plugins; from backbones.choose import choose; "
        "from backbones import BackboneOptions, list_backbones; "
        "choose(dict.fromkeys(list_backbones()), 'resnet50', what='backbone'); BackboneOptions()"
    )
    assert packages(modules) & {"torch", "torchvision", "numpy", *TOO_HEAVY} == set()


def test_everything_public_takes_only_torch_torchvision_and_safetensors():
    """What it takes beside torch and torchvision is then its own files; a time is not tested."""
    added = imported("from backbones import *", after="import torch, torchvision")
    assert packages(added) == {"backbones", "safetensors"}
    assert not [name for name in added if name.startswith("backbones.adapters")]


def test_the_tasks_are_imported_without_torch():
    modules = imported("import tasks.detection as d, tasks.segmentation as s; dir(d), dir(s)")
    assert packages(modules) & {"torch", "torchvision", "lightning"} == set()
