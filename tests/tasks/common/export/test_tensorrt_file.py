"""What is asked of TensorRT, by a module that only notes it: there is no GPU here."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from unittest.mock import Mock

import pytest

from backbones.registry import BUILDERS
from tasks.common.export import int8, tensorrt_file
from tasks.common.export.subject import Request
from tests.backbones.errors import refuses
from tests.backbones.networks import tiny
from tests.tasks.segmentation.test_export import exportable

HALVES = {"FP16": "flag of fp16", "BF16": "flag of bf16"}
SHAPES = (1, 1, 32, 32), (1, 1, 192, 160), (4, 1, 1024, 1024)  # smallest, usual, largest
SHAPE_OPTIONS = (
    "--minShapes=images:1x1x32x32 --optShapes=images:1x1x192x160 --maxShapes=images:4x1x1024x1024"
)


@pytest.fixture
def subject(tmp_path, monkeypatch):
    monkeypatch.setitem(BUILDERS, "resnet18", tiny)
    return exportable(tmp_path, patch=(192, 160))


@pytest.fixture
def tensorrt(monkeypatch):
    """A module with the names of TensorRT 10 (of 11, if the half precisions are taken away)."""
    module = ModuleType("tensorrt")
    module.__spec__, module.__version__ = ModuleSpec("tensorrt", None), "10.0"
    module.BuilderFlag = SimpleNamespace(**HALVES)
    module.NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
    module.Logger, module.OnnxParser, module.Builder = Mock(), Mock(), Mock()
    module.Builder.return_value.build_serialized_network.return_value = b"plan"
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def _quantised(monkeypatch):
    """Leave out what `tests.scripts.test_export` tests: a file in 8 bits, which takes a run."""

    def write_file(_subject, _request, path, *, place, symmetric):
        yield "quantised"
        path.write_bytes(b"8 bits")
        return {"place": place, "symmetric": symmetric}

    monkeypatch.setattr(int8, "write_file", write_file)


def request(subject, precision, **options):
    about = {"checkpoint": subject.checkpoint, "format": "tensorrt", "precision": precision}
    return Request(output=subject.checkpoint.with_name("out"), **about, **options)


def written(subject, tmp_path, precision):
    """The folder with an engine, and its metadata."""
    folder = tmp_path / precision
    folder.mkdir()
    lines = [*tensorrt_file.write(subject, request(subject, precision), folder)]
    assert lines[-1].endswith("it was built, not compared")
    assert (folder / "segmenter.engine").read_bytes() == b"plan"
    return folder, json.loads((folder / "metadata.json").read_text())


def test_half_precision_is_asked_of_the_builder(subject, tensorrt, tmp_path):
    folder, metadata = written(subject, tmp_path, "bf16")
    builder = tensorrt.Builder.return_value
    builder.create_network.assert_called_once_with(0)
    config = builder.create_builder_config.return_value
    config.set_flag.assert_called_once_with(HALVES["BF16"])
    profile = builder.create_optimization_profile.return_value
    profile.set_shape.assert_called_once_with("images", *SHAPES)
    config.add_optimization_profile.assert_called_once_with(profile)
    parser = tensorrt.OnnxParser.return_value
    parser.parse_from_file.assert_called_once_with(str(folder / "segmenter.onnx"))
    assert metadata["precision"] == "bf16"
    assert metadata["comparison"]["of"] == "segmenter.onnx"
    assert list(metadata["files"]) == ["segmenter.engine", "segmenter.onnx"]


@pytest.mark.usefixtures("_quantised")
@pytest.mark.parametrize("halves", [HALVES, {}], ids=["TensorRT 10", "TensorRT 11"])
def test_8_bits_are_taken_from_the_nodes_of_the_file(subject, tensorrt, tmp_path, halves):
    tensorrt.BuilderFlag = SimpleNamespace(**halves)
    folder, metadata = written(subject, tmp_path, "int8")
    builder = tensorrt.Builder.return_value
    builder.create_network.assert_called_once_with(1 << 1)  # strongly typed
    builder.create_builder_config.return_value.set_flag.assert_not_called()
    parser = tensorrt.OnnxParser.return_value
    parser.parse_from_file.assert_called_once_with(str(folder / "segmenter_int8.onnx"))
    assert (metadata["precision"], metadata["place"]) == ("int8", "outside")
    assert metadata["symmetric"] is True


def test_what_tensorrt_does_not_do_is_told(subject, tensorrt, tmp_path):
    tensorrt.Builder.return_value.build_serialized_network.return_value = None
    with refuses("TensorRT built no engine; its own lines above say why"):
        written(subject, tmp_path, "fp16")
    tensorrt.OnnxParser.return_value.parse_from_file.return_value = False
    tensorrt.OnnxParser.return_value.get_error.return_value.desc.return_value = "no NonZero"
    with refuses("TensorRT cannot read the ONNX file: no NonZero"):
        written(subject, tmp_path, "bf16")
    tensorrt.BuilderFlag, tensorrt.__version__ = SimpleNamespace(), "11.0"
    asked = request(subject, "fp16")
    with refuses(r"TensorRT 11\.0 takes the precision from the file, .* take int8, or TensorRT 10"):
        next(tensorrt_file.write(subject, asked, tmp_path))
    inside = request(subject, "int8", preprocessing="inside")
    with refuses("--format tensorrt takes --preprocessing outside"):
        next(tensorrt_file.write(subject, inside, tmp_path))


@pytest.mark.parametrize(
    ("precision", "options", "name", "how"),
    [
        ("fp16", "--format=onnx", "segmenter.onnx", "--fp16"),
        (
            "int8",
            "--format=onnx_int8 --symmetric --calibration=9 --seed=4",
            "segmenter_int8.onnx",
            "--stronglyTyped",
        ),
    ],
)
def test_without_tensorrt_the_commands_are_told(
    subject, precision, options, name, how, monkeypatch
):
    monkeypatch.setattr(tensorrt_file, "find_spec", lambda _: None)
    asked = request(subject, precision, calibration=9, seed=4)
    path, out = subject.checkpoint, asked.output
    export = f"python scripts/export.py {path} {options} --preprocessing=outside --output={out}"
    build = f"trtexec --onnx={out}/{name} --saveEngine={out}/segmenter.engine {how} {SHAPE_OPTIONS}"
    assert tensorrt_file.commands(subject, asked) == [export, build]
    with refuses("TensorRT is not installed here, so no engine is built. Where it is: python"):
        next(tensorrt_file.write(subject, asked, out))
