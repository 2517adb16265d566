"""ONNX with 8-bit arithmetic: what it costs in score beside what it gains in speed."""

import logging
import re
import shutil
import statistics
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backbones import fuse
from backbones.errors import UserError
from tasks.common.export.keel_runtime import Model, Run
from tasks.common.export.metadata import describe, write_metadata
from tasks.common.export.onnx_file import OPSET, embed, session, trace
from tasks.common.export.subject import Graph, Image, Request, Subject
from tasks.common.machine.machine import describe as describe_machine

MOST_LOST: Final = 0.05  # of the score; a file that loses more is not kept
FORGIVEN: Final = 0.005  # of the score; where more is lost, the ends of the network stay in float32
_TYPES: Final = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Relu",
    "MaxPool",
    "Concat",
    "Resize",
)
WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SYMMETRIC: Final = {  # options of ONNX Runtime's quantiser
    "ActivationSymmetric": True,
    "AddQDQPairToWeight": True,
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
    "QuantizeBias": False,
}
_ROUNDS: Final = 5
_TIMED: Final = 4  # images
_VNNI: Final = ("avx512_vnni", "avx_vnni", "amx_int8")

Batch = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A quantised file and its score."""

    ends: str  # the type of the first and last layers
    path: Path
    score: float


def write(subject: Subject, request: Request, folder: Path) -> Iterator[str]:
    """Write ``<noun>_int8.onnx`` and its metadata to a folder; see `write_file`."""
    path, place = folder / name_of(subject), subject.place(request.preprocessing)
    metadata = yield from write_file(
        subject, request, path, place=place, symmetric=request.symmetric
    )
    write_metadata(folder, metadata)


def name_of(subject: Subject) -> str:
    """Return the name of the file."""
    return f"{subject.noun}_int8.onnx"


def write_file(
    subject: Subject, request: Request, path: Path, *, place: str, symmetric: bool
) -> Generator[str, None, dict[str, Any]]:
    """Write an ONNX file in 8 bits and return its metadata; yield scores and speed.

    Weights have 8 bits per output channel, activations 8 bits per tensor, their ranges taken from
    images of the training split (``QDQ``), ``symmetric`` about 0 as `quantise` says. Boxes and what
    is done to images stay in float32. Where that costs score, so do the first and the last layers,
    if that is better. UserError if the file loses more than `MOST_LOST`.
    """
    images = _calibration(subject, request)
    graph = subject.graph(fuse(subject.network, other_norms="keep"), place=place)
    metadata = describe(subject, request, graph, place=place, own={"opset": OPSET})
    with TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole.onnx"
        trace(graph, whole)
        plain = session(whole, threads=1)
        before = subject.score(Model.of(metadata, plain))
        yield f"{subject.metric} {before:.4f} in float32 on the run's validation split"
        tried: list[Attempt] = []
        for attempt in _attempts(subject, graph, whole, metadata, images, symmetric=symmetric):
            yield (
                f"{subject.metric} {attempt.score:.4f} in int8, first and last layers in "
                f"{attempt.ends}"
            )
            tried.append(attempt)
            if before - attempt.score <= FORGIVEN:
                break
        best = max(tried, key=lambda attempt: attempt.score)
        lost = _checked(before - best.score, metric=subject.metric)
        shutil.copyfile(best.path, path)
        shown = subject.images("val", _TIMED, seed=request.seed) or images[:_TIMED]
        faster = speed_up(metadata, plain, session(path, threads=1), shown)
    figures = {
        "calibration": {"images": len(images), "seed": request.seed, "of": "the training split"},
        "first and last layers": best.ends,
        "symmetric": symmetric,
        **_gain(subject.metric, before, best.score, faster=faster),
    }
    metadata = {**metadata, "int8": figures}
    embed(path, metadata)
    yield (
        f"{path.name}: {lost:+.4f} {subject.metric} lost, {faster:.2f} times as fast as float32 "
        f"ONNX on one thread ({_instructions()})"
    )
    return metadata


def _attempts(
    subject: Subject,
    graph: Graph,
    whole: Path,
    metadata: dict[str, Any],
    images: Sequence[Image],
    *,
    symmetric: bool,
) -> Iterator[Attempt]:
    """Yield the file with all layers in 8 bits, then that without the first and the last."""
    batches = _batches(metadata, session(whole, threads=1), images)
    for ends in ("int8", "float32"):
        path = whole.with_stem(ends)
        chosen = _nodes(whole, graph, ends=ends, types=WEIGHTED if symmetric else _TYPES)
        quantise(whole, path, batches=batches, chosen=chosen, symmetric=symmetric)
        score = subject.score(Model.of(metadata, session(path, threads=1)))
        yield Attempt(ends=ends, path=path, score=score)


def _checked(lost: float, *, metric: str) -> float:
    """Return the score lost; raise UserError if it is too much, or none was measured."""
    if not lost <= MOST_LOST:  # NaN, where the split has no object
        raise UserError(
            f"int8 loses {lost:.4f} of {metric} on the run's validation split, expected at most "
            f"{MOST_LOST}; nothing was kept. Give more images (--calibration), or --format onnx."
        )
    return lost


def _calibration(subject: Subject, request: Request) -> list[Image]:
    images = subject.images("train", request.calibration, seed=request.seed)
    if not images:
        raise UserError(
            f"--format {request.format} is calibrated on images of the training data, but "
            f"{subject.data_note}. Run it where the run's data lie, from the folder it was "
            "trained in."
        )
    return images


def _gain(metric: str, before: float, after: float, *, faster: float) -> dict[str, Any]:
    return {
        "metric": f"{metric} on the run's validation split",
        "score in float32": before,
        "score in int8": after,
        "score lost": before - after,
        "times faster than float32 ONNX": faster,
        "timed on": {**describe_machine(), "threads": 1, "8-bit instructions": _instructions()},
    }


def quantise(
    source: Path,
    path: Path,
    *,
    batches: Sequence[Batch],
    chosen: Sequence[str],
    symmetric: bool = False,
) -> None:
    """Write an ONNX file whose ``chosen`` nodes have 8-bit weights and inputs.

    If ``symmetric``, all zero points are 0, biases stay in float32, and pairs of QuantizeLinear and
    DequantizeLinear stand before every input and weight of a layer and not after it, as TensorRT
    takes them and as NVIDIA's Model Optimizer sets ONNX Runtime's quantiser. Otherwise activations
    are unsigned with any zero point, which ONNX Runtime advises for CPUs.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a pre-processing that fuse() has done
    try:
        quantize_static(
            str(source),
            str(path),
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_TYPES),
            nodes_to_quantize=list(chosen),
            extra_options=dict(_SYMMETRIC) if symmetric else {},
        )
    finally:
        logging.disable(level)


def _reader(batches: Sequence[Batch]) -> Any:  # noqa: ANN401 (of a package that may be missing)
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        rest = iter(batches)

        def get_next(self) -> dict[str, Batch] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"images": batch}

    return Reader()


def _batches(metadata: dict[str, Any], plain: Run, images: Sequence[Image]) -> list[Batch]:
    """Return what the file is given for images: windows of them, or what is prepared outside."""
    seen: list[Batch] = []

    def spy(batch: Batch) -> Sequence[Batch]:
        seen.append(batch)
        return plain(batch)

    model = Model.of(metadata, spy)
    for image in images:
        model(image)
    singles = [batch[k : k + 1] for batch in seen for k in range(len(batch))]
    # Windows of one image are alike; of many, as many as there are images are enough.
    wanted = np.linspace(0, len(singles) - 1, min(len(singles), 2 * len(images))).round()
    return [singles[int(k)] for k in wanted]


def _nodes(path: Path, graph: Graph, *, ends: str, types: Sequence[str]) -> list[str]:
    """Return the names of the nodes that get 8 bits: the network's own, its ends if they do."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    own = [n for n in nodes if n.op_type in types and re.search(graph.network, n.name)]
    if ends == "int8":
        return [node.name for node in own]
    first = next((n.name for n in own if n.op_type == "Conv"), "")
    return [n.name for n in own if n.name != first and not re.search(graph.last, n.name)]


def speed_up(metadata: dict[str, Any], plain: Run, fast: Run, images: Sequence[Image]) -> float:
    """Return how many times faster one file is than another: the median over rounds in turn."""
    models = [Model.of(metadata, run) for run in (plain, fast)]
    ratios = []
    for turn in range(_ROUNDS + 1):
        taken = []
        for model in models:
            started = time.perf_counter()
            for image in images:
                model(image)
            taken.append(time.perf_counter() - started)
        if turn:  # the first round is not counted
            ratios.append(taken[0] / taken[1])
    return statistics.median(ratios)


def _instructions() -> str:
    """Return what the CPU has for 8-bit products."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="ascii", errors="ignore") if path.exists() else ""
    return ", ".join(name for name in _VNNI if re.search(rf"\b{name}\b", text)) or "no VNNI or AMX"
