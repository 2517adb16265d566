"""NumPy arrays out of a pickle, with nothing of NumPy and nothing else run."""

import pickle
from collections import OrderedDict
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
    """Stands in for ``numpy.dtype``: remembers a name and a byte order."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = name.lstrip("<|="), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands in for ``_reconstruct``: a shape, a type and bytes become a tensor."""

    tensor: Tensor

    def __init__(self, *_: object) -> None:
        """Start empty: `__setstate__` has the content."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, column_first=fortran)


class _Buffer(_Array):
    """Stands in for ``_frombuffer``, of which protocol 5 makes arrays."""

    def __init__(
        self,
        data: object,
        dtype: _Dtype,
        shape: tuple[int, ...],
        order: str,
        axes: tuple[int, ...] | None = None,
    ) -> None:
        tensor = _tensor(data, dtype, shape, column_first=order == "F")
        self.tensor = tensor if axes is None else tensor.permute(axes)


class _Scalar(_Array):
    """Stands in for ``scalar``."""

    def __init__(self, dtype: _Dtype, data: object) -> None:
        self.tensor = _tensor(data, dtype, (), column_first=False)


_MODULES: Final = ("numpy.core", "numpy._core")  # NumPy 1 and 2
_STAND_INS: Final[dict[tuple[str, str], type]] = {
    **{(f"{module}.multiarray", "_reconstruct"): _Array for module in _MODULES},
    **{(f"{module}.multiarray", "scalar"): _Scalar for module in _MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _Buffer for module in _MODULES},
    ("numpy", "ndarray"): _Array,  # an argument of `_reconstruct`, and ignored there
    ("numpy", "dtype"): _Dtype,
}
_ADMITTED: Final[dict[tuple[str, str], type]] = {
    **_STAND_INS,
    ("_codecs", "encode"): bytes,  # how protocol 2 writes bytes: bytes(text, "latin1")
    ("collections", "OrderedDict"): OrderedDict,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")  # Python 3 and 2
        for kind in (bytes, dict, list, tuple, set, frozenset)
    },
}
NUMPY_GLOBALS: Final = [(kind, ".".join(name)) for name, kind in _STAND_INS.items()]
"""The stand-ins as `torch.serialization.safe_globals` takes them."""


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names in ``_ADMITTED``, and refuses to look any other up."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not a NumPy array")
        return _ADMITTED[module, name]


def read_pickle(file: BinaryIO) -> object:
    """Return what a pickle holds, with tensors for its NumPy arrays.

    Containers, numbers, strings and NumPy arrays are admitted. Even NumPy's own classes are not
    touched: some of them read memory where a crafted pickle says, so inert classes stand in.

    Args:
        file: Open for reading in binary mode. Python 2 wrote detectron's files, hence latin1.

    Raises:
        UnpicklingError: If it holds anything else.
    """
    return with_tensors(_ArrayUnpickler(file, encoding="latin1").load())


def with_tensors(value: Any) -> Any:  # noqa: ANN401 (whatever a checkpoint holds)
    """Return the value with a tensor for every stand-in of an array, however deep it lies."""
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
