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
    "FPN",
    "NORMS",
    "Backbone",
    "BackboneOptions",
    "BackboneWithFPN",
    "Conventions",
    "LoadReport",
    "UserError",
    "build_backbone",
    "list_backbones",
    "load_weights",
    "norm_factory",
    "register_backbone",
}
TOO_HEAVY = {
    "huggingface_hub",
    "albumentations",
    "cv2",
    "hydra",
    "lightning",
    "matplotlib",
    "omegaconf",
    "pycocotools",
    "rich",
    "segmentation_models_pytorch",
    "tasks",
    "timm",
    "transformers",
}


def test_all_is_sorted_constants_then_classes_then_functions():
    def kind(name):
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert backbones.__all__ == sorted(backbones.__all__, key=kind)


def test_all_is_exactly_what_can_be_imported():
    public = {
        name
        for name, value in vars(backbones).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(backbones.__all__) == public


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


def test_importing_backbones_imports_no_framework():
    program = "import json, sys, backbones; print(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert {"backbones", "torch"} <= loaded
    assert loaded & TOO_HEAVY == set()


def test_importing_backbones_loads_nothing_but_itself_and_safetensors():
    """What it takes beside torch and torchvision is then its own files; a time is not tested."""
    program = """if True:
        import json, sys, torch, torchvision
        before = set(sys.modules)
        import backbones
        print(json.dumps(sorted(set(sys.modules) - before)))
    """
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=True,
    )
    added = json.loads(run.stdout)
    assert {name.partition(".")[0] for name in added} == {"backbones", "safetensors"}
    assert not [name for name in added if name.startswith("backbones.adapters")]
