"""What a file says of itself, inside it where it has room, and in ``metadata.json`` beside it."""

from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from backbones.lineage import lineage_text, sha256_of
from tasks.common.export.keel_runtime import FORMAT
from tasks.common.export.subject import Graph, Request, Subject
from tasks.common.report.run_folder import write_json
from tasks.common.share.backbone import lineage_from

NAME: Final = "metadata.json"
_PACKAGES: Final = (
    *("keel-backbones", "torch", "torchvision", "numpy"),
    *("onnx", "onnxruntime", "openvino", "tensorrt"),
)


def describe(
    subject: Subject,
    request: Request,
    graph: Graph | None,
    *,
    place: str,
    own: Mapping[str, Any] = MappingProxyType({}),
    backbone_alone: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a file, without the comparison; ``own`` are the format's.

    A file of weights alone has no ``graph``; what a ``backbone_alone`` finds means nothing yet, so
    that `Subject.results` are left out.
    """
    card = subject.card
    return {
        "metadata_format": FORMAT,
        "format": request.format,
        "task": card.NAMES.task,
        "backbone": card.backbone,
        "classes": list(card.class_names),
        **(_ends(graph) if graph else {}),
        **subject.facts(place=place),
        **({} if backbone_alone else subject.results()),
        "checkpoint": {"file": request.checkpoint.name, "sha256": sha256_of(request.checkpoint)},
        "lineage": lineage_text(lineage_from(card, request.checkpoint)),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        **own,
    }


def _ends(graph: Graph) -> dict[str, Any]:
    """Return what goes into a graph and what comes out."""
    size = dict.fromkeys(graph.free, "any")
    return {
        "input": {
            "name": "images",
            "layout": graph.layout,
            "type": str(graph.example.dtype).removeprefix("torch."),
            "shape": [size.get(axis, length) for axis, length in enumerate(graph.example.shape)],
        },
        "outputs": list(graph.outputs),
    }


def write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write ``metadata.json``, with the hash of every file beside it."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    write_json(folder / NAME, {**metadata, "files": files})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
