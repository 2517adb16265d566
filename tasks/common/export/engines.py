"""Files for other engines, made of the ONNX file: OpenVINO and TensorRT."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backbones.errors import UserError
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.formats import OUTSIDE
from tasks.common.export.keel_runtime import Model, Run
from tasks.common.export.metadata import write_metadata
from tasks.common.export.onnx_file import write_graph
from tasks.common.export.subject import Request, Subject


def write_openvino(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.xml`` and ``.bin`` to a folder, compared in float32; yield what was found."""
    import openvino

    source, path = folder / "source.onnx", folder / f"{subject.noun}.xml"
    place = subject.place(request.preprocessing)
    metadata = write_graph(subject, request, source, place=place)
    openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
    source.unlink()
    images = compared_on(subject, request)
    agreement = subject.compare(Model.of(metadata, _openvino_run(path)), images.arrays)
    yield accepted(agreement, images, name=path.name)
    comparison = {"images of": images.source, "precision": "f32", **agreement.figures}
    write_metadata(folder, {**metadata, "comparison": comparison})
    yield "compared with INFERENCE_PRECISION_HINT f32; without it CPUs with AMX take bf16"


def _openvino_run(path: Path) -> Run:
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", hint)

    def run(batch: Any) -> Sequence[Any]:  # noqa: ANN401 (arrays of any type)
        found = compiled([batch])
        return [found[k] for k in range(len(compiled.outputs))]

    return run


def write_tensorrt(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.engine`` to a folder for the GPU of this machine.

    The ONNX file that it is made of is compared, not the engine: half precision has no rounding in
    common with float32. UserError with the commands to type where TensorRT is not installed.
    """
    if request.preprocessing not in (None, OUTSIDE):
        raise UserError("--format tensorrt takes --preprocessing outside: it has no float64.")
    if find_spec("tensorrt") is None:
        raise UserError(
            f"TensorRT is not installed here, so no engine is built. Where it is: "
            f"{' && '.join(commands(subject, request))}"
        )
    source, path = folder / f"{subject.noun}.onnx", folder / f"{subject.noun}.engine"
    metadata = write_graph(subject, request, source, place=OUTSIDE)
    images = compared_on(subject, request)
    agreement = subject.compare(Model(source), images.arrays)
    yield accepted(agreement, images, name=source.name)
    path.write_bytes(_engine(source, subject.shapes(), precision=request.precision))
    comparison = {"of": source.name, "images of": images.source, **agreement.figures}
    write_metadata(folder, {**metadata, "comparison": comparison, "precision": request.precision})
    yield f"{path.name} is for this GPU and version of TensorRT; it was built, not compared"


def commands(subject: Subject, request: Request) -> list[str]:
    """Return the commands that make an engine of a checkpoint where TensorRT is installed."""
    stem, output = subject.noun, request.output
    sides = {k: "x".join(map(str, shape)) for k, shape in subject.shapes().items()}
    shapes = [f"--{name}Shapes=images:{text}" for name, text in sides.items()]
    first = ["python", "scripts/export.py", str(request.checkpoint), "--format=onnx"]
    first += ["--preprocessing=outside", f"--output={output}"]
    second = ["trtexec", f"--onnx={output / stem}.onnx", f"--saveEngine={output / stem}.engine"]
    return [shlex.join(first), shlex.join([*second, f"--{request.precision}", *shapes])]


def _engine(source: Path, shapes: Mapping[str, tuple[int, ...]], *, precision: str) -> bytes:
    import tensorrt

    builder = tensorrt.Builder(logger := tensorrt.Logger(tensorrt.Logger.WARNING))
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source)):
        raise UserError(f"TensorRT cannot read the ONNX file: {parser.get_error(0).desc()}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.set_flag(getattr(tensorrt.BuilderFlag, precision.upper()))
    profile.set_shape("images", shapes["min"], shapes["opt"], shapes["max"])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UserError("TensorRT built no engine; its own lines above say why.")
    return bytes(plan)
