"""The type of a file, by its first bytes and not by its name, and what to do about it."""

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import PurePath
from typing import Any, BinaryIO, Final
from zipfile import BadZipFile, ZipFile

_HEAD: Final = 1024  # bytes
_LARGEST: Final = 1 << 34  # bytes that a compressed file may unpack to
_CHUNK: Final = 1 << 20
_LENGTH: Final = 8  # bytes of a .safetensors file that say how long its header is
_LEGACY: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save's before torch 1.6
_PICKLE: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ZIP: Final = b"PK\x03\x04"
_TEXT_PICKLE: Final = re.compile(rb"[(\]}]|c[\w.]+\n|P\w*\n")  # protocols 0 and 1
_SHOWN: Final = 40  # characters of a text, in a message

_COMPRESSED: Final[dict[bytes, Callable[[BinaryIO], Any]]] = {
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
}

_UNPACK: Final = "unpack it and give the weight file in it"
_FOREIGN: Final = "give PyTorch weights of the network, a .pth or .safetensors file"
_FETCH: Final = "fetch the weight file itself"
_MAP: Final = (*(bytes([0x80 | n]) for n in range(1, 16)), b"\xde", b"\xdf")  # msgpack's
_BEGINNINGS: Final[dict[bytes, tuple[str, str]]] = {
    b"version https://git-lfs.github.com/spec/": (
        "a pointer of Git LFS to a file that was not fetched",
        "run `git lfs pull` in its repository",
    ),
    b"/annex/objects/": (
        "a pointer of git-annex to a file that was not fetched",
        "run `git annex get` in its repository",
    ),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file, as Keras and TensorFlow write (.h5)", _FOREIGN),
    b"\x93NUMPY": ("a single NumPy array (.npy)", "give a state dict of names and tensors"),
    b"(\xb5/\xfd": ("compressed by Zstandard", _UNPACK),
    b"\x04\x22\x4d\x18": ("compressed by LZ4", _UNPACK),
    b"7z\xbc\xaf'\x1c": ("a 7z archive", _UNPACK),
    b"Rar!": ("a RAR archive", _UNPACK),
    b"GGUF": ("a GGUF file of llama.cpp", _FOREIGN),
    b"\x89PNG": ("a PNG image", _FETCH),
    b"\xff\xd8\xff": ("a JPEG image", _FETCH),
    b"%PDF": ("a PDF document", _FETCH),
}


def unpacked(file: BinaryIO) -> BytesIO | None:
    """Return the content of a file that xz, gzip or bzip2 compressed, or None for another file.

    This and the functions below take a file that is open in binary mode, and leave it at its start.
    More than 16 GiB of content are refused; damage raises any exception.
    """
    head = _head(file)
    opener = next((way for start, way in _COMPRESSED.items() if head.startswith(start)), None)
    if opener is None:
        return None
    reader, whole = opener(file), BytesIO()
    while chunk := reader.read(_CHUNK):
        if whole.tell() + len(chunk) > _LARGEST:
            raise ValueError(f"more than {_LARGEST >> 30} GiB come out of it")
        whole.write(chunk)
    whole.seek(0)
    return whole


def is_safetensors(file: BinaryIO) -> bool:
    """Return whether a file begins as ``.safetensors`` does: the header's length, then JSON."""
    return _head(file)[_LENGTH : _LENGTH + 1] == b"{" and not _is_text(_head(file))


def is_pickle(file: BinaryIO) -> bool:
    """Return whether a file is a pickle, and not one of torch.save's."""
    head = _head(file)
    return head.startswith(_PICKLE) and _LEGACY not in head[:64]


def is_torchs(file: BinaryIO) -> bool:
    """Return whether a file begins as those of torch.save, before torch 1.6 or since."""
    head = _head(file)
    return head.startswith(_ZIP) or _LEGACY in head[:64]


def foreign(file: BinaryIO) -> tuple[str, str] | None:
    """Return the type of a file that cannot be read here, and what to do; None for any other."""
    head = _head(file)
    if is_safetensors(file):
        return None
    for start, found in _BEGINNINGS.items():
        if head.startswith(start):
            return found
    if head.startswith(_ZIP):
        return _archive(file)
    if _TEXT_PICKLE.match(head):
        return None
    kind = next((kind for matches, *kind in _TESTS if matches(head)), None)
    begins = repr(head[: 4 * _SHOWN].decode("utf-8", errors="ignore").strip()[:_SHOWN])
    return None if kind is None else (kind[0].format(begins), kind[1])


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    return head


def _archive(file: BinaryIO) -> tuple[str, str] | None:
    """Return the type of a zip archive that torch.save did not write, and what to do."""
    names: list[str] = []
    with suppress(BadZipFile, OSError, ValueError), ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    file.seek(0)
    inner = {PurePath(name).name for name in names}
    if "constants.pkl" in inner and any("/code/" in f"/{name}" for name in names):
        return (
            "a TorchScript archive, which holds a program; it was not read, because that would run "
            "it",
            "save its weights alone, where you trust it: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pth')",
        )
    if not names or "data.pkl" in inner:
        return None
    if all(name.endswith(".npy") for name in names):
        return (
            "an .npz archive of NumPy arrays",
            "make a torch file of it: torch.save({k: torch.from_numpy(v) for k, v in "
            "np.load(path).items()}, 'weights.pth')",
        )
    if "model.weights.h5" in inner:
        return "a Keras archive (.keras)", _FOREIGN
    if any("archive_format" in name or "/models/" in name for name in names):
        return (
            "a program of torch.export (.pt2)",
            "save the weights of the module: torch.save(module.state_dict(), 'weights.pth')",
        )
    return f"a zip archive of {len(names)} files, such as {sorted(names)[0]!r}", _UNPACK


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="ignore")
    odd = sum(not (sign.isprintable() or sign.isspace()) for sign in text)
    return bool(text) and odd == 0 and len(text.encode()) > len(head) - 4


def _is_page(head: bytes) -> bool:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--", b"<body"))


def _is_onnx(head: bytes) -> bool:
    """Return whether it is a protobuf with a version of ONNX, then its producer or its graph."""
    begins = head[:1] == b"\x08" and len(head) > 8 and 1 <= head[1] <= 32
    return begins and head[2:3] in (b"\x12", b"\x1a", b"\x3a")


def _is_msgpack(head: bytes) -> bool:
    """Return whether it is a map whose first key is a text; no pickle begins so."""
    at = {b"\xde": 3, b"\xdf": 5}.get(head[:1], 1)
    key = head[at] if len(head) > at else 0
    return head.startswith(_MAP) and (0xA0 <= key <= 0xBF or key in (0xD9, 0xDA))


_EMPTY: Final = "truncated or damaged, or no weight file: it has no content (0 bytes)"
_TESTS: Final[tuple[tuple[Callable[[bytes], bool], Any, Any], ...]] = (
    (lambda head: not head, _EMPTY, "fetch it again"),
    (
        _is_page,
        "a web page, as a server sends it instead of a file that needs a login or is gone",
        _FETCH,
    ),
    (_is_onnx, "an ONNX model", _FOREIGN),
    (_is_msgpack, "a msgpack file, as Flax writes it", _FOREIGN),
    (lambda head: head[4:8] == b"TFL3", "a TensorFlow Lite model", _FOREIGN),
    (lambda head: head[257:262] == b"ustar", "a tar archive", _UNPACK),
    (_is_text, "a text that begins with {}", _FETCH),
)
"""A test of the first bytes, the type of the file, and what to do."""
