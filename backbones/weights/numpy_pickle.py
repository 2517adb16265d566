"""Read NumPy arrays from a pickle, without running NumPy or anything else in it."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

_TYPES: Final = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}


class _Dtype:
    """Replaces ``numpy.dtype``: keeps a name and a byte order."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = name.lstrip("<|="), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Replaces ``_reconstruct``: makes a tensor from a shape, a type and bytes."""

    tensor: Tensor

    def __init__(self, *_: object) -> None:
        """Start empty; `__setstate__` fills it."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, column_first=fortran)


def _from_buffer(
    data: object,
    dtype: _Dtype,
    shape: tuple[int, ...],
    order: str,
    axes: tuple[int, ...] | None = None,
) -> Tensor:
    """Replaces ``_frombuffer``, which makes the arrays of protocol 5."""
    tensor = _tensor(data, dtype, shape, column_first=order == "F")
    return tensor if axes is None else tensor.permute(axes)


def _scalar(dtype: _Dtype, data: object) -> Tensor:
    return _tensor(data, dtype, (), column_first=False)


_MODULES: Final = ("numpy.core", "numpy._core")  # NumPy 1 and 2
_REPLACEMENTS: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    **{(f"{module}.multiarray", "_reconstruct"): _Array for module in _MODULES},
    **{(f"{module}.multiarray", "scalar"): _scalar for module in _MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _from_buffer for module in _MODULES},
    ("numpy", "ndarray"): _Array,  # an argument of `_reconstruct`, and ignored there
    ("numpy", "dtype"): _Dtype,
}
_ADMITTED: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    **_REPLACEMENTS,
    ("_codecs", "encode"): bytes,  # how protocol 2 writes bytes: bytes(text, "latin1")
    ("collections", "OrderedDict"): OrderedDict,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")  # Python 3 and 2
        for kind in (bytes, dict, list, tuple, set, frozenset)
    },
}
NUMPY_GLOBALS: Final = [(kind, ".".join(name)) for name, kind in _REPLACEMENTS.items()]
"""The replacements as `torch.serialization.safe_globals` takes them."""


class _ArrayUnpickler(pickle.Unpickler):
    """Looks up the names in ``_ADMITTED`` and no others."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not a NumPy array")
        return _ADMITTED[module, name]


def read_pickle(file: BinaryIO) -> object:
    """Return the content of a pickle, its NumPy arrays as tensors.

    Containers, numbers, strings and NumPy arrays are admitted, anything else is an UnpicklingError.
    NumPy's own classes are replaced by inert ones: some of them read memory at an address that a
    crafted pickle can choose.
    """
    # latin1, because detectron's files were written by Python 2
    return with_tensors(_ArrayUnpickler(file, encoding="latin1").load())


def with_tensors(value: Any) -> Any:  # noqa: ANN401 (whatever a checkpoint holds)
    """Return the value with a tensor in place of every array, at any depth."""
    if isinstance(value, _Array):
        return value.tensor
    if isinstance(value, dict):
        return {key: with_tensors(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [with_tensors(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _tensor(data: Any, dtype: _Dtype, shape: tuple[int, ...], *, column_first: bool) -> Tensor:  # noqa: ANN401 (from a pickle)
    if isinstance(data, str):
        data = data.encode("latin1")
    if dtype.name not in _TYPES or dtype.order == ">" or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError(f"an array of type {dtype.order}{dtype.name} is not read")
    kind = _TYPES[dtype.name]
    # A copy: the bytes of a pickle must not be written to, a weight may be.
    flat = torch.frombuffer(bytearray(data), dtype=kind) if data else torch.empty(0, dtype=kind)
    if not column_first:
        return flat.reshape(shape)
    return flat.reshape(shape[::-1]).permute(*reversed(range(len(shape)))).contiguous()
