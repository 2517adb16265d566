"""A network as an ONNX file, run in ONNX Runtime and compared before it is accepted."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from backbones import fuse
from backbones.errors import UserError
from backbones.layers.deform import DeformConv2d
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.keel_runtime import KEY, Model, Run
from tasks.common.export.metadata import describe, write_metadata
from tasks.common.export.subject import Graph, Request, Subject

OPSET: Final = 17


def write(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.onnx`` and its metadata to a folder; yield what was found, line by line."""
    place = subject.place(request.preprocessing)
    path = folder / f"{subject.noun}.onnx"
    metadata = write_graph(subject, request, path, place=place)
    images = compared_on(subject, request)
    agreement = subject.compare(Model(path, threads=torch.get_num_threads()), images.arrays)
    yield accepted(agreement, images, name=path.name)
    metadata = {**metadata, "comparison": {"images of": images.source, **agreement.figures}}
    embed(path, metadata)
    write_metadata(folder, metadata)
    yield f"opset {OPSET}, images prepared {place} the file"


def write_graph(subject: Subject, request: Request, path: Path, *, place: str) -> dict[str, Any]:
    """Write the file, which says how it is used, and return what it says."""
    graph = subject.graph(fuse(subject.network, other_norms="keep"), place=place)
    trace(graph, path)
    metadata = describe(subject, request, graph, place=place, own={"opset": OPSET})
    embed(path, metadata)
    return metadata


def trace(graph: Graph, path: Path) -> None:
    """Write a graph as ONNX, through TorchScript: the way that Faster R-CNN can go, too.

    Its warnings are about torchvision's code and the exporter itself. UserError if an operation of
    the network has no counterpart in ONNX.
    """
    if any(isinstance(module, DeformConv2d) for module in graph.module.modules()):
        raise UserError(
            f"the backbone has deformable convolutions, and ONNX has none in opset {OPSET}; take "
            "--format fused, or train it without backbone.deformable."
        )
    letters = {"N": "batch", "H": "height", "W": "width"}
    axes = {"images": {axis: letters[graph.layout[axis]] for axis in graph.free}}
    try:
        with warnings.catch_warnings(), torch.no_grad(), _exact_sigmoid():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.module,
                (graph.example,),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(graph.outputs),
                dynamic_axes=axes,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(f"the network cannot be written as ONNX: {said}") from error


@contextmanager
def _exact_sigmoid() -> Iterator[None]:
    """Write sigmoids as 1 / (1 + exp(-x)).

    ONNX Runtime's own is off by up to 1e-7, the same for all x below -18. Faster R-CNN sorts a
    thousand proposals by it, most of them background, where the logits of neighbours in that order
    are told apart by less.
    """

    def symbolic(graph: Any, x: Any) -> Any:  # noqa: ANN401 (nodes of TorchScript)
        one = graph.op("Constant", value_t=torch.tensor(1.0))
        return graph.op("Div", one, graph.op("Add", one, graph.op("Exp", graph.op("Neg", x))))

    register_custom_op_symbolic("aten::sigmoid", symbolic, OPSET)
    try:
        yield
    finally:
        unregister_custom_op_symbolic("aten::sigmoid", OPSET)


def embed(path: Path, metadata: Mapping[str, Any]) -> None:
    """Put the metadata into an ONNX file, under one key, in place of earlier ones."""
    import onnx

    model = onnx.load(str(path))
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def session(path: Path, *, threads: int) -> Run:
    """Return what runs an ONNX file for `Model.of`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    made = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch: made.run(None, {"images": batch})
