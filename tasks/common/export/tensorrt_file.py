"""A TensorRT engine for the GPU of this machine; where TensorRT is missing, how it is built."""

import shlex
from collections.abc import Generator, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backbones.errors import UserError
from tasks.common.export import int8
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.formats import INT8, OUTSIDE
from tasks.common.export.keel_runtime import Model
from tasks.common.export.metadata import write_metadata
from tasks.common.export.onnx_file import embed, write_graph
from tasks.common.export.subject import Request, Subject


def write(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.engine`` and the ONNX file that it is made of to a folder.

    The ONNX file is compared, not the engine: half precision has no rounding in common with
    float32. For ``int8`` it is the file of `int8.write_file` with symmetric ranges, whose score is
    measured. TensorRT 10 and 11 compute what its QuantizeLinear and DequantizeLinear nodes say
    ("explicit quantization"), the rest in float32; they take no zero points but 0, and no biases of
    32 bits. UserError with the commands to type where TensorRT is not installed, and where it no
    longer takes a half precision.

    Sources: NVIDIA's documentation of TensorRT, "Working with Quantized Types", "Explicit
    Quantization" and "Migrating from TensorRT 10.x to 11.x"; NVIDIA/TensorRT issue 4698 (zero
    points), microsoft/onnxruntime issue 14229 (biases).
    """
    if request.preprocessing not in (None, OUTSIDE):
        raise UserError("--format tensorrt takes --preprocessing outside: it has no float64.")
    if find_spec("tensorrt") is None:
        raise UserError(
            f"TensorRT is not installed here, so no engine is built. Where it is: "
            f"{' && '.join(commands(subject, request))}"
        )
    _check_precision(request.precision)
    source, path = folder / _source(subject, request), folder / f"{subject.noun}.engine"
    metadata = yield from _written(subject, request, source)
    path.write_bytes(_engine(source, subject.shapes(), precision=request.precision))
    write_metadata(folder, {**metadata, "precision": request.precision})
    yield f"{path.name} is for this GPU and version of TensorRT; it was built, not compared"


def commands(subject: Subject, request: Request) -> list[str]:
    """Return the commands that make an engine of a checkpoint where TensorRT is installed.

    ``--stronglyTyped`` makes TensorRT 10 compute in the types of the file, as 11 always does; the
    half precisions take TensorRT 10.
    """
    output, is_int8 = request.output, request.precision == INT8
    export = ["python", "scripts/export.py", str(request.checkpoint)]
    export += ["--format=onnx_int8", "--symmetric"] if is_int8 else ["--format=onnx"]
    if is_int8:
        export += [f"--calibration={request.calibration}", f"--seed={request.seed}"]
    export += ["--preprocessing=outside", f"--output={output}"]
    build = ["trtexec", f"--onnx={output / _source(subject, request)}"]
    build += [f"--saveEngine={output / subject.noun}.engine"]
    build += ["--stronglyTyped" if is_int8 else f"--{request.precision}"]
    for name, shape in subject.shapes().items():
        build.append(f"--{name}Shapes=images:{'x'.join(map(str, shape))}")
    return [shlex.join(export), shlex.join(build)]


def _source(subject: Subject, request: Request) -> str:
    return int8.name_of(subject) if request.precision == INT8 else f"{subject.noun}.onnx"


def _check_precision(precision: str) -> None:
    import tensorrt

    if precision != INT8 and not hasattr(tensorrt.BuilderFlag, precision.upper()):
        raise UserError(
            f"TensorRT {tensorrt.__version__} takes the precision from the file, so that "
            f"--precision {precision} cannot be asked of it; take int8, or TensorRT 10."
        )


def _written(
    subject: Subject, request: Request, path: Path
) -> Generator[str, None, dict[str, Any]]:
    """Write the ONNX file and return its metadata; yield what was found, line by line."""
    if request.precision == INT8:
        return (yield from int8.write_file(subject, request, path, place=OUTSIDE, symmetric=True))
    metadata = write_graph(subject, request, path, place=OUTSIDE)
    images = compared_on(subject, request)
    agreement = subject.compare(Model(path), images.arrays)
    yield accepted(agreement, images, name=path.name)
    comparison = {"of": path.name, "images of": images.source, **agreement.figures}
    metadata = {**metadata, "comparison": comparison}
    embed(path, metadata)
    return metadata


def _engine(source: Path, shapes: Mapping[str, tuple[int, ...]], *, precision: str) -> bytes:
    import tensorrt

    typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    builder = tensorrt.Builder(logger := tensorrt.Logger(tensorrt.Logger.WARNING))
    network = builder.create_network(typed if precision == INT8 else 0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source)):
        raise UserError(f"TensorRT cannot read the ONNX file: {parser.get_error(0).desc()}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    if precision != INT8:
        config.set_flag(getattr(tensorrt.BuilderFlag, precision.upper()))
    profile.set_shape("images", shapes["min"], shapes["opt"], shapes["max"])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UserError("TensorRT built no engine; its own lines above say why.")
    return bytes(plan)
