"""Results and speed of an exported file beside the network that it is made of.

    python scripts/benchmark.py scores-exports RUN --images 20 --sizes 100

The ONNX file in float32, run by ONNX Runtime and with ``--openvino`` by OpenVINO as well, and the
network in eager mode, in float32, whole and fused: results on images of the run's validation split
and on generated ones of random sizes, and milliseconds for each of the former, measured in
turn.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from backbones import UserError, fuse
from tasks.common.export import onnx_file
from tasks.common.export.accept import compared_on
from tasks.common.export.comparing import generated
from tasks.common.export.formats import OUTSIDE
from tasks.common.export.keel_runtime import Model
from tasks.common.export.openvino_file import openvino_run
from tasks.common.export.subject import Image, Request, Subject
from tasks.common.export.torch_files import module_run
from tasks.common.machine.threads import prepare_cpu
from tasks.common.resume.card import find_checkpoint, task_of
from tasks.common.run.commands import commands

SIDES: Final = (48, 400)  # the shortest and the longest of a random size

System = Callable[[Image], object]


def main(arguments: Sequence[str]) -> None:
    """Print how both agree and how fast they are."""
    parser = argparse.ArgumentParser(prog="benchmark.py scores-exports")
    parser.add_argument("run", type=Path, help="a run's folder, or a checkpoint")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--sizes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count")
    parser.add_argument("--threads", type=int, default=0, help="of torch and the others")
    parser.add_argument("--openvino", action="store_true", help="OpenVINO as well")
    options = parser.parse_args(arguments)
    if min(options.images, options.repeats) < 1:
        raise UserError(
            f"--images and --repeats take integers of at least 1, got {options.images} and "
            f"{options.repeats}."
        )
    prepare_cpu(options.threads)
    checkpoint = find_checkpoint(options.run)
    subject = commands()[task_of(checkpoint)].export(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        request = Request(
            checkpoint=checkpoint, format="onnx", output=path.parent, images=options.images
        )
        apart = options.openvino and subject.resizes  # see `openvino_file`
        place = OUTSIDE if apart else subject.place(None)
        metadata = onnx_file.write_graph(subject, request, path, place=place)
        files = _files(path, metadata, openvino=options.openvino)
        real, channels = compared_on(subject, request), metadata["image_channels"]
        sizes = _sizes(options.sizes)
        made = generated(sizes, channels=channels)
        for name, model in files.items():
            found = _agreement(subject, model, real.arrays)
            print(f"{name}, {real.source}: {found}", flush=True)
            found = _agreement(subject, model, made)
            print(f"{name}, {len(sizes)} random sizes: {found}", flush=True)
        plain, fused = (
            Model.of(metadata, module_run(subject.graph(network, place=place).module))
            for network in (subject.network, fuse(subject.network, other_norms="keep"))
        )
        systems = {"eager": plain, "eager, fused": fused, **files}
        for line in timed(systems, real.arrays[: options.images], repeats=options.repeats):
            print(line, flush=True)


def _files(path: Path, metadata: Mapping[str, Any], *, openvino: bool) -> dict[str, Model]:
    threads = torch.get_num_threads()
    files = {"ONNX Runtime": Model(path, threads=threads)}
    if openvino:
        files["OpenVINO"] = Model.of(metadata, openvino_run(path, threads=threads))
    return files


def _sizes(count: int) -> list[tuple[int, int]]:
    drawn = np.random.default_rng(0).integers(*SIDES, (count, 2))
    return [(int(height), int(width)) for height, width in drawn]


def _agreement(subject: Subject, model: Model, images: Sequence[Image]) -> str:
    agreement = subject.compare(model, images)
    return f"{agreement}{'; FAILED: ' * bool(agreement.faults)}{'; '.join(agreement.faults)}"


def timed(systems: Mapping[str, System], images: Sequence[Image], *, repeats: int) -> list[str]:
    """Return a line for each system, its milliseconds an image; the first round is left out."""
    rounds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats + 1):
        for name, system in systems.items():
            started = time.perf_counter()
            for image in images:
                system(image)
            rounds[name].append((time.perf_counter() - started) / len(images))
    base = rounds[next(iter(systems))][1:]
    lines = []
    for name, (_, *taken) in rounds.items():
        ratio = statistics.median(a / b for a, b in zip(base, taken, strict=True))
        milliseconds = 1000 * statistics.median(taken)
        lines.append(f"{name:14} {milliseconds:8.1f} ms an image, {ratio:.2f} times as fast")
    return lines
