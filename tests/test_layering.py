"""Imports point one way: scripts -> tasks -> backbones, and downwards inside each."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"backbones", "tasks", "benchmarks", "scripts"}
LAYERS = [  # lowest first; names on one line do not import each other
    ["backbones.errors"],
    [
        *("backbones.choose", "backbones.lineage", "backbones.names", "backbones.options"),
        "backbones.plugins",
    ],
    ["backbones.dataflow"],
    ["backbones.layers"],
    ["backbones.interface"],
    ["backbones.fpn", "backbones.fusion", "backbones.resnet"],
    ["backbones.weights.formats", "backbones.weights.numpy_pickle", "backbones.weights.unwrap"],
    ["backbones.weights.download", "backbones.weights.renames"],
    ["backbones.weights.read", "backbones.weights.conventions", "backbones.weights.architecture"],
    ["backbones.weights.card"],
    [
        *("backbones.weights.hub", "backbones.weights.metadata", "backbones.weights.origins"),
        "backbones.weights.write",
    ],
    ["backbones.weights.locate"],
    ["backbones.weights.identify"],
    ["backbones.weights.check"],
    ["backbones.weights.load"],
    ["backbones.weights"],
    ["backbones.registry"],
    ["backbones.pretrained"],
    ["backbones"],  # the facade
    ["backbones.adapters"],  # leaves: no source imports them, who needs one names it
    ["tasks"],  # imports nothing; here so that every module has a place
    ["tasks.common"],
    ["tasks.common.options", "tasks.common.statistics"],
    ["tasks.common.machine"],
    ["tasks.common.files"],
    ["tasks.common.report"],
    ["tasks.common.images", "tasks.common.recipe"],
    ["tasks.common.resume"],
    ["tasks.common.compare"],
    ["tasks.common.share"],
    ["tasks.common.audit", "tasks.common.data"],
    ["tasks.common.export", "tasks.common.predict", "tasks.common.run"],
    ["tasks.detection.options", "tasks.segmentation.options"],
    ["tasks.detection.data", "tasks.segmentation.data"],
    ["tasks.detection.model", "tasks.segmentation.model"],
    ["tasks.detection.scores", "tasks.segmentation.scores"],
    ["tasks.detection.report", "tasks.segmentation.report"],
    ["tasks.detection", "tasks.segmentation"],
    ["benchmarks"],
    ["scripts"],
]
SOURCES = sorted(p for top in OURS for p in (ROOT / top).rglob("*.py"))


def module_of(path):
    """Return the dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in SOURCES}
PLACES = {name: level for level, names in enumerate(LAYERS) for name in names}
LEAVES = "backbones.adapters"
# A new module below one of these needs a place of its own.
FACADES = {"backbones", "backbones.weights", "tasks", "tasks.common"}

FRAMEWORKS = {
    *("PIL", "albumentations", "cv2", "hydra", "lightning", "matplotlib", "nibabel", "numpy"),
    *("omegaconf", "pycocotools", "rich", "safetensors", "scipy", "tifffile"),
    *("torch", "torchvision"),
}
CORE = {"torch", "torchvision", "safetensors"}
MAY_IMPORT = {  # besides the standard library and ours; the longest that fits counts
    "backbones": CORE,
    "backbones.weights.hub": CORE | {"timm", "huggingface_hub"},
    "backbones.adapters.huggingface": CORE | {"transformers"},
    "backbones.adapters.smp": CORE | {"segmentation_models_pytorch"},
    "backbones.adapters.timm": CORE | {"timm"},
    "tasks": FRAMEWORKS,
    "tasks.common.run.imports": FRAMEWORKS | {"lightning_utilities"},
    "tasks.common.compare.runs": FRAMEWORKS | {"yaml"},  # the errors of omegaconf's parser
    "tasks.common.export": FRAMEWORKS | {"onnx", "onnxruntime", "openvino", "tensorrt"},
    "tasks.common.export.keel_runtime": {"PIL", "numpy", "onnxruntime"},
    "tasks.common.export.run_data": FRAMEWORKS | {"yaml"},
    "tasks.segmentation.data.formats.itk": FRAMEWORKS | {"SimpleITK"},
    "benchmarks": FRAMEWORKS | {"segmentation_models_pytorch"},
    "scripts": FRAMEWORKS,
}


def place(module):
    """Return the entry of LAYERS that a module belongs to."""
    parents = [module.rsplit(".", i)[0] for i in range(module.count(".") + 1)]
    found = [n for n in parents if n in PLACES and (n not in FACADES or n == module)]
    assert found, f"{module} has no place in LAYERS; give it one"
    return found[0]


def imports(source):
    """Return every module that the source imports, inside functions and by strings too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in MODULES else node.module for name in inner]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names += [ast.literal_eval(node.args[0])]
    return names


def faults(module, source):
    """Return what is wrong with the imports of a module."""
    mine = place(module)
    top = max((n for n in MAY_IMPORT if f"{module}.".startswith(f"{n}.")), key=len)
    wrong = []
    for name in imports(source):
        package = name.partition(".")[0]
        if package in OURS:
            theirs = place(name)
            if theirs == LEAVES != mine:
                wrong.append(f"{module} imports {name}, which is for nobody to import")
            elif theirs != mine and PLACES[theirs] >= PLACES[mine]:
                wrong.append(f"{module} imports {name}, which is not below it")
        elif package not in sys.stdlib_module_names | MAY_IMPORT[top]:
            wrong.append(f"{module} imports {package}, which is not for {top}")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    assert faults(module_of(path), path.read_text(encoding="utf-8")) == []


COCO = "from tasks.detection.data.layouts.coco import read"


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("backbones.fpn", "from backbones.resnet.model import ResNet", "not below it"),
        ("backbones.fpn", "from backbones import Backbone", "not below it"),
        ("backbones.weights.load", "import tasks.common.recipe.optim", "not below it"),
        ("backbones.registry", "def f():\n    import lightning", "not for backbones"),
        ("backbones.resnet.model", "from timm.models import resnet", "not for backbones"),
        ("backbones.weights.locate", "import backbones.adapters.timm", "nobody to import"),
        ("tasks.detection.run", "import backbones.adapters.timm", "nobody to import"),
        ("backbones.adapters.smp", "import timm", "not for backbones.adapters.smp"),
        ("backbones.weights.hub", "import lightning", "not for backbones.weights.hub"),
        ("tasks.common.report.terminal", COCO, "not below it"),
        ("tasks.segmentation.data.data_module", COCO, "not below it"),
        ("tasks.common.files.text", "from tasks.common.data import samplers", "not below it"),
        ("tasks.detection.data.boxes", "import tasks.detection.model.card", "not below it"),
        ("tasks.segmentation.model.unet", "import tasks.segmentation.run", "not below it"),
        ("tasks.detection.run", "import_module('backbones.adapters.timm')", "nobody to import"),
        ("tasks.detection.run", "import scripts.train_det", "not below it"),
        ("tasks.detection.run", "import timm", "not for tasks"),
    ],
)
def test_a_forbidden_import_is_found(module, source, fault):
    assert [text.endswith(fault) for text in faults(module, source)] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backbones.resnet.model", "from backbones.resnet.blocks import Bottleneck"),
        ("backbones.registry", "import os.path\nfrom torchvision.ops import nms"),
        ("backbones.adapters.smp", "import segmentation_models_pytorch\nimport backbones"),
        ("tasks.detection.run", "import lightning\nfrom backbones import build_backbone"),
    ],
)
def test_an_allowed_import_is_not(module, source):
    assert faults(module, source) == []


def test_a_module_without_a_place_and_a_relative_import_are_found():
    with pytest.raises(AssertionError, match=r"^backbones\.helpers has no place in LAYERS"):
        place("backbones.helpers")
    with pytest.raises(AssertionError, match="a relative import in line 1"):
        imports("from . import fpn")
