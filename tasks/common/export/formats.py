"""The formats that ``scripts/export.py`` writes, a row each; importing this imports no torch."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from backbones.choose import choose
from backbones.errors import UserError

_ROOM: Final = "tasks.common.export"
INSIDE, OUTSIDE = "inside", "outside"
"""Where an image is prepared: in the graph, or by who calls it, as the metadata say."""
INT8: Final = "int8"
PRECISIONS: Final = ("fp16", "bf16", INT8)  # of TensorRT


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file."""

    what: str  # for ``--help``
    write: str  # the dotted name of what writes it: (subject, request, folder) -> lines
    packages: tuple[str, ...] = ()  # that it needs, beside Keel's own
    extra: str = "export"  # of ``pip install "keel-backbones[...]"``, which brings them
    options: tuple[str, ...] = ()  # of the command line that not all formats have
    runtime: bool = False  # whether keel_runtime.py, which runs it, lies beside it


_GRAPH: Final = ("preprocessing", "images")
_DRAWN: Final = ("calibration", "seed")
_ONNX: Final = ("onnx", "onnxruntime")

FORMATS: Final[Mapping[str, Format]] = {
    "fused": Format(
        what="a checkpoint for Keel, every norm of fixed statistics inside its convolution",
        write=f"{_ROOM}.torch_files:write_fused",
        options=("images",),
    ),
    "torch_export": Format(
        what="a .pt2 file for torch.export.load",
        write=f"{_ROOM}.torch_files:write_exported",
        options=_GRAPH,
    ),
    "onnx": Format(
        what="float32 for ONNX Runtime, and keel_runtime.py, which needs no torch",
        write=f"{_ROOM}.onnx_file:write",
        packages=_ONNX,
        options=_GRAPH,
        runtime=True,
    ),
    "onnx_int8": Format(
        what="ONNX with 8-bit convolutions, calibrated on images of the training data",
        write=f"{_ROOM}.int8:write",
        packages=_ONNX,
        options=(*_GRAPH, *_DRAWN, "symmetric"),
        runtime=True,
    ),
    "onnx_backbone": Format(
        what="the backbone alone as ONNX: feature maps, a detector's those of its pyramid",
        write=f"{_ROOM}.maps_file:write",
        packages=_ONNX,
        options=("images",),
        runtime=True,
    ),
    "openvino": Format(
        what="OpenVINO's .xml and .bin, made of the ONNX file",
        write=f"{_ROOM}.openvino_file:write",
        packages=(*_ONNX, "openvino"),
        extra="openvino",
        options=_GRAPH,
        runtime=True,
    ),
    "tensorrt": Format(
        what="a TensorRT engine where TensorRT is installed; else the command that builds it",
        write=f"{_ROOM}.tensorrt_file:write",
        packages=_ONNX,
        options=(*_GRAPH, *_DRAWN, "precision"),
        runtime=True,
    ),
    "backbone": Format(
        what="the backbone's weights alone, for the other task or another program",
        write=f"{_ROOM}.torch_files:write_backbone",
    ),
}


def check_format(name: str, options: Namespace) -> Format:
    """Return a format's row; raise UserError if it is unknown, lacks a package, or an option."""
    chosen = choose(FORMATS, name, what="format")
    for option in {option for row in FORMATS.values() for option in row.options}:
        if option not in chosen.options and getattr(options, option) is not None:
            able = ", ".join(key for key, row in FORMATS.items() if option in row.options)
            raise UserError(f"--{option} is for the formats {able}; leave it out.")
    calibrated = options.precision == INT8 or "precision" not in chosen.options
    if options.calibration is not None and not calibrated:
        raise UserError(f"--calibration of --format {name} takes --precision int8; leave it out.")
    check_packages(chosen, name)
    return chosen


def check_packages(chosen: Format, name: str) -> None:
    """Raise UserError with the ``pip install`` that mends it if a package is missing."""
    missing = [package for package in chosen.packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"--format {name} needs {' and '.join(missing)}; install with: "
            f'pip install "keel-backbones[{chosen.extra}]"'
        )
