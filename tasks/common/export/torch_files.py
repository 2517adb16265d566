"""Files for programs that have torch: a fused checkpoint, a program of torch.export, a backbone."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from backbones import fuse
from backbones.errors import UserError
from backbones.lineage import lineage_text
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.keel_runtime import Model, Run
from tasks.common.export.metadata import describe, write_metadata
from tasks.common.export.subject import Graph, Request, Subject
from tasks.common.resume.card import FUSED
from tasks.common.share.backbone import lineage_from
from tasks.common.share.backbone import write_backbone as write_safetensors


def write_fused(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.ckpt`` to a folder, which Keel's scripts take as any checkpoint."""
    network, path = fuse(subject.network, other_norms="keep"), folder / f"{subject.noun}.ckpt"
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"keel": subject.card.to_dict(), FUSED: True, "state_dict": state}, path)
    place = subject.place(None)
    graph = subject.graph(network, place=place)
    metadata = describe(subject, request, graph, place=place)
    images = compared_on(subject, request)
    agreement = subject.compare(Model.of(metadata, module_run(graph.module)), images.arrays)
    yield accepted(agreement, images, name=path.name)
    comparison = {"images of": images.source, **agreement.figures}
    write_metadata(folder, {**metadata, "comparison": comparison})


def write_backbone(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``backbone.safetensors`` to a folder, for ``backbone.weights=`` of either task."""
    path = folder / "backbone.safetensors"
    write_safetensors(subject.backbone, subject.card, path, checkpoint=request.checkpoint)
    yield lineage_text(lineage_from(subject.card, request.checkpoint))


def write_exported(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.pt2`` and its metadata to a folder; yield what was found, line by line."""
    place = subject.place(request.preprocessing)
    graph = subject.graph(fuse(subject.network, other_norms="keep"), place=place)
    path = folder / f"{subject.noun}.pt2"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.export.save(_exported(graph, subject.noun), path)
        program = torch.export.load(path).module()
    metadata = describe(subject, request, graph, place=place)
    images = compared_on(subject, request)
    agreement = subject.compare(Model.of(metadata, module_run(program)), images.arrays)
    yield accepted(agreement, images, name=path.name)
    comparison = {"images of": images.source, **agreement.figures}
    write_metadata(folder, {**metadata, "comparison": comparison})


def _exported(graph: Graph, noun: str) -> torch.export.ExportedProgram:
    sizes = dict.fromkeys(graph.free, torch.export.Dim.DYNAMIC)
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


def module_run(module: Any) -> Run:  # noqa: ANN401 (a module, or torch.export's callable)
    """Return what runs a module for `keel_runtime.Model`."""

    def run(batch: Any) -> Sequence[Any]:  # noqa: ANN401 (arrays of any type)
        with torch.no_grad():
            found = module(torch.from_numpy(batch))
        return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

    return run
