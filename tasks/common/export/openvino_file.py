"""A network as OpenVINO's .xml and .bin, made of the ONNX file and compared before it is kept."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.export.accept import accepted, compared_on
from tasks.common.export.formats import INSIDE, OUTSIDE
from tasks.common.export.keel_runtime import KEY, Model, Run
from tasks.common.export.metadata import write_metadata
from tasks.common.export.onnx_file import write_graph
from tasks.common.export.subject import Request, Subject

_EXACT: Final = "f32"


def write(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>.xml`` and ``.bin`` to a folder, compared in float32; yield what was found.

    The metadata are in the .xml file too, as text under the key ``keel`` of its ``rt_info``.
    """
    import openvino

    source, path = folder / "source.onnx", folder / f"{subject.noun}.xml"
    place = _place(subject, request.preprocessing)
    metadata = write_graph(subject, request, source, place=place)
    converted = openvino.convert_model(source)
    source.unlink()
    _save(converted, path, metadata)
    images = compared_on(subject, request)
    agreement = subject.compare(Model.of(metadata, openvino_run(path)), images.arrays)
    yield accepted(agreement, images, name=path.name)
    comparison = {"images of": images.source, "precision": _EXACT, **agreement.figures}
    metadata = {**metadata, "comparison": comparison}
    _save(converted, path, metadata)
    write_metadata(folder, metadata)
    yield f"compared with INFERENCE_PRECISION_HINT {_EXACT}; without it CPUs with AMX take bf16"


def _place(subject: Subject, wanted: str | None) -> str:
    """Return where images are prepared: outside where they are resized.

    OpenVINO computes float64 in float32, in which a fifth of the sizes are a pixel off.
    """
    if not subject.resizes:
        return subject.place(wanted)
    if wanted == INSIDE:
        raise UserError(
            f"--format openvino takes --preprocessing outside for a {subject.noun}: it resizes"
            " images to a size that takes float64, which OpenVINO has not; leave it out."
        )
    return OUTSIDE


def _save(converted: Any, path: Path, metadata: Mapping[str, Any]) -> None:  # noqa: ANN401 (its)
    import openvino

    converted.set_rt_info(json.dumps(metadata), [KEY])
    openvino.save_model(converted, path, compress_to_fp16=False)


def openvino_run(path: Path, *, threads: int = 0) -> Run:
    """Return what runs a .xml file for `Model.of`, on the CPU in float32; 0 for all threads."""
    import openvino

    # Not mapped into memory: the file may be written anew while this runs.
    settings = {"INFERENCE_PRECISION_HINT": _EXACT, "ENABLE_MMAP": False}
    settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = openvino.Core().compile_model(path, "CPU", settings)

    def run(batch: Any) -> Sequence[Any]:  # noqa: ANN401 (arrays of any type)
        found = compiled([batch])
        return [found[k] for k in range(len(compiled.outputs))]

    return run
