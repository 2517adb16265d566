"""Files for programs that have torch: a fused checkpoint, a program of torch.export, a backbone."""

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from backbones import fuse
from backbones.errors import UserError
from backbones.fusion import FUSED
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.formats import OUTSIDE
from tasks.common.export.keel_runtime import KEY, Model, Run
from tasks.common.export.metadata import describe, write_metadata
from tasks.common.export.subject import Graph, Request, Subject
from tasks.common.report.run_folder import finite
from tasks.common.share.backbone import write_backbone as write_safetensors

_LARGEST: Final = 4096  # side of an image that torch.export's program takes


def write_fused(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.ckpt`` to a folder, which Keel's scripts take as any checkpoint.

    The metadata are in it too, as plain values under the key ``keel_export``.
    """
    network, path = fuse(subject.network, other_norms="keep"), folder / f"{subject.noun}.ckpt"
    place = subject.place(None)
    graph = subject.graph(network, place=place)
    metadata = describe(subject, request, graph, place=place)
    images = compared_on(subject, request)
    agreement = subject.compare(Model.of(metadata, module_run(graph.module)), images.arrays)
    yield accepted(agreement, images, name=path.name)
    metadata = {**metadata, "comparison": {"images of": images.source, **agreement.figures}}
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    own = {"keel": subject.card.to_dict(), "keel_export": finite(metadata)}
    torch.save({**own, FUSED: True, "state_dict": state}, path)
    write_metadata(folder, metadata)


def write_backbone(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``backbone.safetensors`` to a folder, for ``backbone.weights=`` of either task."""
    path = folder / "backbone.safetensors"
    write_safetensors(subject.backbone, subject.card, path, checkpoint=request.checkpoint)
    conventions = subject.card.conventions
    prepared = {
        "where": OUTSIDE,
        "steps": "RGB or gray numbers / 255; minus mean, divided by std; any size",
        "mean": list(conventions.mean),
        "std": list(conventions.std),
    }
    own = {"preprocessing": prepared}
    metadata = describe(subject, request, None, place=OUTSIDE, own=own, backbone_alone=True)
    write_metadata(folder, metadata)
    yield metadata["lineage"]


def write_exported(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.pt2`` and its metadata to a folder; yield what was found, line by line.

    The metadata are in it too, as the extra file ``keel``, which `torch.export.load` reads.
    """
    place = subject.place(request.preprocessing)
    graph = subject.graph(fuse(subject.network, other_norms="keep"), place=place)
    path = folder / f"{subject.noun}.pt2"
    metadata = describe(subject, request, graph, place=place, own={"sides": _sides(graph)})
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = _exported(graph, subject.noun)
        torch.export.save(exported, path)
        program = torch.export.load(path).module()
    # Smaller ones are padded further than the network does, which group norms see.
    images = compared_on(subject, request, least=graph.multiple + 1)
    agreement = subject.compare(Model.of(metadata, _padded_run(program, graph)), images.arrays)
    yield accepted(agreement, images, name=path.name)
    metadata = {**metadata, "comparison": {"images of": images.source, **agreement.figures}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(exported, path, extra_files={KEY: json.dumps(metadata)})
    write_metadata(folder, metadata)


def _exported(graph: Graph, noun: str) -> torch.export.ExportedProgram:
    most = _LARGEST // graph.multiple
    sizes: dict[int, Any] = {}
    for axis in graph.free:
        letter = graph.layout[axis]
        side = torch.export.Dim(letter, min=2, max=most)  # a map of one pixel is another program
        sizes[axis] = torch.export.Dim.DYNAMIC if letter == "N" else graph.multiple * side
    try:
        return torch.export.export(
            graph.module, (graph.example,), dynamic_shapes=(sizes,), strict=False
        )
    except Exception as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(
            f"torch.export cannot follow this {noun} ({type(error).__name__}: {said}); take "
            "--format onnx."
        ) from error


def _sides(graph: Graph) -> str:
    """Return what sides the program takes: it cannot prove that padding makes maps fit."""
    return (
        f"multiples of {graph.multiple} from {2 * graph.multiple} to {_LARGEST}; repeat the last "
        "row and column of others, and cut the logits to the image"
    )


def _padded_run(program: Any, graph: Graph) -> Run:  # noqa: ANN401 (torch.export's callable)
    run = module_run(program)
    rows, columns = (graph.layout.index(letter) for letter in "HW")

    def padded(batch: Any) -> Sequence[Any]:  # noqa: ANN401 (arrays of any type)
        more = [(0, 0)] * batch.ndim
        for axis in (rows, columns):
            wanted = -(-batch.shape[axis] // graph.multiple) * graph.multiple
            more[axis] = (0, max(wanted, 2 * graph.multiple) - batch.shape[axis])
        (logits,) = run(np.pad(batch, more, mode="edge"))
        return [logits[..., : batch.shape[rows], : batch.shape[columns]]]

    return padded


def module_run(module: Any) -> Run:  # noqa: ANN401 (a module, or torch.export's callable)
    """Return what runs a module for `keel_runtime.Model`."""

    def run(batch: Any) -> Sequence[Any]:  # noqa: ANN401 (arrays of any type)
        with torch.no_grad():
            found = module(torch.from_numpy(batch))
        return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

    return run
