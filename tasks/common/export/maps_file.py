"""The backbone as an ONNX file: images in, feature maps out; a detector's with its pyramid."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backbones import fuse
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.comparing import Agreement
from tasks.common.export.formats import INSIDE
from tasks.common.export.keel_runtime import Model
from tasks.common.export.metadata import describe, write_metadata
from tasks.common.export.onnx_file import OPSET, embed, session, trace
from tasks.common.export.prepared import Prepared
from tasks.common.export.subject import Graph, Request, Subject
from tasks.common.export.torch_files import module_run

MOST: Final = 1e-3  # of the largest number of a map; norms of single images enlarge rounding
_EXAMPLE: Final = (2, 96, 128)  # images, height and width

Maps = Mapping[str, NDArray[np.float32]]


def write(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``backbone.onnx`` and its metadata to a folder; yield what was found, line by line.

    Images keep their size, also a detector's; whoever wants them resized does it before.
    """
    path, place = folder / "backbone.onnx", subject.place(None)
    graph = maps_graph(subject, fuse(subject.network, other_norms="keep"), place=place)
    trace(graph, path)
    eager = maps_graph(subject, subject.network, place=place)
    own = {"task": "features", "opset": OPSET, "preprocessing": _preparation(subject, place)}
    metadata = describe(subject, request, graph, place=place, own=own, backbone_alone=True)
    models = [
        Model.of(metadata, run)
        for run in (module_run(eager.module), session(path, threads=torch.get_num_threads()))
    ]
    images = compared_on(subject, request)
    pairs = ([model.features(image) for model in models] for image in images.arrays)
    agreement = compare_maps(pairs)
    yield accepted(agreement, images, name=path.name)
    metadata = {**metadata, "comparison": {"images of": images.source, **agreement.figures}}
    embed(path, metadata)
    write_metadata(folder, metadata)
    yield f"maps {', '.join(graph.outputs)}; opset {OPSET}, images prepared {place} the file"


def maps_graph(subject: Subject, network: nn.Module, *, place: str) -> Graph:
    """Return the graph of a network's ``backbone``, which is a detector's with its pyramid."""
    inside = place == INSIDE
    made = torch.Generator().manual_seed(0)
    prepared = torch.randn(_EXAMPLE[0], subject.card.in_channels, *_EXAMPLE[1:], generator=made)
    backbone = network.get_submodule("backbone")
    with torch.no_grad():
        names = tuple(backbone(prepared))
    bytes_ = torch.randint(0, 256, prepared.permute(0, 2, 3, 1).shape, dtype=torch.uint8)
    return Graph(
        module=Prepared(backbone, subject.card.conventions, inside=inside).eval(),
        example=bytes_ if inside else prepared,
        layout="NHWC" if inside else "NCHW",
        outputs=names,
        free=(0, 1, 2) if inside else (0, 2, 3),
        multiple=1,
        network="",
        last="",
    )


def _preparation(subject: Subject, place: str) -> dict[str, Any]:
    stated: dict[str, Any] = subject.facts(place=place)["preprocessing"]
    if place != INSIDE:
        return stated
    steps = "numbers / 255; minus mean, divided by std; the size stays"
    return {"where": place, "steps": steps, "mean": stated["mean"], "std": stated["std"]}


def compare_maps(pairs: Iterable[Sequence[Maps]]) -> Agreement:
    """Compare the maps of images, each by eager mode and by a file; shapes must be the same."""
    images, largest = 0, 0.0
    for eager, exported in pairs:
        images += 1
        for name, expected in eager.items():
            off = abs(exported[name] - expected).max() / max(abs(expected).max(), 1e-12)
            largest = float(np.maximum(largest, off))  # NaN stays
    fault = f"maps differ by up to {largest:.2g} of their largest number, expected {MOST}"
    return Agreement(
        figures={"images": images, "largest relative difference": largest},
        faults=() if largest <= MOST else (fault,),
    )
