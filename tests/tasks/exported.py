"""A small network as an ONNX file, for tests of what is in it."""

from tasks.common.export.keel_runtime import Model
from tasks.common.export.onnx_file import write_graph
from tasks.common.export.subject import Request


def onnx_of(subject, folder, *, place):
    """Write the file and return what runs it."""
    path = folder / "network.onnx"
    request = Request(checkpoint=subject.checkpoint, format="onnx", output=folder)
    write_graph(subject, request, path, place=place)
    return Model(path, threads=1)
