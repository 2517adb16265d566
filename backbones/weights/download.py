"""Downloads: a file arrives whole and with the right hash, or nothing of it stays.

`torch.hub.download_url_to_file` does not go on after a broken connection, and has no time limit.
"""

import errno
import os
import re
import time
from contextlib import suppress
from glob import escape
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from torch.hub import get_dir, tqdm  # type: ignore[attr-defined] # torch's stand-in without tqdm

from backbones.errors import UserError
from backbones.lineage import sha256_of

_CHUNK: Final = 1 << 18
_TIMEOUT: Final = 60.0
_ATTEMPTS: Final = 10
_STALE: Final = 3600.0  # seconds without a byte, after which a download must have been killed


def offline() -> bool:
    """Return whether ``KEEL_OFFLINE`` forbids the network."""
    return os.environ.get("KEEL_OFFLINE", "0") not in ("", "0")


def fetch_published(url: str) -> Path:
    """Fetch a file with the first digits of its hash in its name, as torchvision's and timm's."""
    name = url.rpartition("/")[2]
    found = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    if found is None:
        raise UserError(f"{url} is published without a hash; download it, and give its path.")
    return fetch(url, sha256=found[1], name=name)


def fetch(url: str, *, sha256: str, name: str) -> Path:
    """Return the file at ``url``, downloaded once and kept as ``name`` where torch keeps weights.

    The download goes to a hidden file beside it, goes on where a connection broke, and takes the
    name only when its hash begins with ``sha256``; a kept file is checked as well. A failed
    download, or ``KEEL_OFFLINE``, is a ConnectionError, a full disk an OSError.
    """
    path = Path(get_dir()) / "checkpoints" / name
    if path.exists():
        digest = sha256_of(path)
        if not digest.startswith(sha256):
            raise UserError(
                f"{path} has the sha256 {digest[: len(sha256)]}..., expected {sha256}...; delete "
                "it, and the next run downloads it again."
            )
        return path
    try:
        if offline():
            raise URLError("KEEL_OFFLINE is set")
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, sha256=sha256, path=path)
    except (OSError, RuntimeError, HTTPException) as error:
        raise failure(url, error, folder=path.parent, first=f"copy that file to {path}") from error
    return path


def failure(what: str, error: Exception, *, folder: Path, first: str) -> OSError:
    """Return the error for a failed download: why, and what can be done, ``first`` first."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(
            error.errno,
            f"no space in {folder} for {what}; nothing of it was kept. Free some, or set "
            "TORCH_HOME (HF_HOME for timm: and hf:) to a folder on another disk",
        )
    return ConnectionError(
        f"cannot download {what} ({error}). Do one of three things: {first}; give a file of your "
        "own, backbone.weights=/path/to/file.pth; or train from random initialisation, "
        "backbone.weights=random."
    )


def _download(url: str, *, sha256: str, path: Path) -> None:
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by a process that was killed
        with suppress(OSError):  # another process may have removed it
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            _receive(url, file)
        digest = sha256_of(part)
        if not digest.startswith(sha256):
            raise RuntimeError(f'invalid hash value (expected "{sha256}", got "{digest}")')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _receive(url: str, file: BinaryIO) -> None:
    """Write what is at ``url``; after a broken connection continue, if the last try got further."""
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024) as bar:
        furthest = 0
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _append(url, file, bar=bar)
                break
            except (HTTPException, ConnectionError, TimeoutError, URLError) as error:
                got = file.tell()
                if attempt == _ATTEMPTS or got <= furthest or isinstance(error, HTTPError):
                    raise
                furthest = got


def _append(url: str, file: BinaryIO, *, bar: Any) -> None:  # noqa: ANN401 (tqdm's, or a stand-in)
    """Ask for the rest of the file, and write it."""
    start = file.tell()
    headers = {"User-Agent": "keel"} | ({"Range": f"bytes={start}-"} if start else {})
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as answer:  # noqa: S310 (any scheme: the hash decides)
        if not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            start = 0  # the server ignores the range and sends the whole file
            file.seek(0)
            file.truncate()
        length = answer.headers.get("Content-Length")
        total = bar.total = start + int(length) if length else None
        bar.n = start
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and file.tell() < total:
        raise ConnectionError(f"the connection broke after {file.tell()} of {total} bytes")
