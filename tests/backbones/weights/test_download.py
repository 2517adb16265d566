"""Downloads: whole and right, or nothing; and the network is left alone when it is off."""

import errno
import hashlib
import os
import socket
import threading
from contextlib import closing, contextmanager
from unittest.mock import Mock
from urllib.error import HTTPError

import pytest

from backbones.weights.download import fetch
from tests.backbones.errors import refuses

CONTENT = b"the weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    """Only a server of the test's own is asked, but where the test turns the network off."""
    monkeypatch.setenv("KEEL_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def source(tmp_path):
    """The file that is published, and nothing beside it."""
    path = tmp_path / "published" / "resnet.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Where torch keeps a weight file of that name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / "resnet.pth"


def get(url, sha256=SHA256):
    return fetch(url, sha256=sha256, name="resnet.pth")


def left_in(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_download_takes_its_name_and_is_not_repeated(source, target, capsys, monkeypatch):
    assert get(source.as_uri(), SHA256[:8]) == target
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["resnet.pth"]
    assert "100%" in capsys.readouterr().err
    source.unlink()
    monkeypatch.setenv("KEEL_OFFLINE", "1")
    assert get(source.as_uri(), SHA256[:8]).read_bytes() == CONTENT


def test_a_file_that_was_damaged_since_is_refused_and_kept(source, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:-1])
    with refuses(rf"resnet\.pth has the sha256 .*, expected {SHA256[:8]}"):
        get(source.as_uri(), SHA256[:8])
    assert target.read_bytes() == CONTENT[:-1]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nthe wei"
ANSWERS = {  # what a server says, why that is no file, and how often it is asked
    "cut short": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 11000\r\n\r\nthe wei",
        "the connection broke after 7 of 11000 bytes",
        2,
    ),
    "cut short in a chunk": (CHUNKED, "IncompleteRead", 1),
    "a login page": (
        b"HTTP/1.0 200 OK\r\n\r\n<html>Log in first</html>",
        f'expected "{SHA256[:8]}", got "',
        1,
    ),
    "not found": (b"HTTP/1.0 404 Not Found\r\n\r\n", "HTTP Error 404", 1),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "SSH", 1),
    "nothing": (b"", "Remote end closed connection", 1),
}


@contextmanager
def serving(*answers):
    """A server that gives these answers, the last one again and again; yields its requests."""
    requests = []

    def serve(server):
        for k in range(100):
            connection, _ = server.accept()
            with connection:
                if request := connection.recv(65536):
                    requests.append(request.decode())
                    connection.sendall(answers[min(k, len(answers) - 1)])
                else:
                    return

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/resnet.pth", requests
        finally:
            socket.create_connection(server.getsockname()).close()  # nothing asked: the end
            thread.join()


@pytest.mark.parametrize(("answer", "why", "times"), ANSWERS.values(), ids=ANSWERS)
def test_a_failed_download_says_three_things_and_leaves_no_file(target, answer, why, times):
    gone = pytest.raises(ConnectionError, match=why)
    with serving(answer) as (url, requests), gone as caught:
        get(url, SHA256[:8])
    if isinstance(caught.value.__cause__, HTTPError):
        caught.value.__cause__.close()  # it is the answer as well, and holds the connection
    _says_three_things(str(caught.value), url, target)
    assert len(requests) == times
    assert left_in(target.parent) == []


def part(start, stop, *, ranged=True):
    """An answer that promises everything from ``start`` on, and breaks off at ``stop``."""
    status = b"206 Partial Content" if ranged else b"200 OK"
    place = b"Content-Range: bytes %d-10999/11000\r\n" % start if ranged else b""
    head = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, place, 11000 - start)
    return head + CONTENT[start:stop]


LONGER = b"HTTP/1.1 200 OK\r\nContent-Length: 13000\r\n\r\n" + b"x" * 12000


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([part(0, 4000, ranged=False), part(4000, 9000), part(9000, 11000)], [0, 4000, 9000]),
        ([part(0, 4000, ranged=False), part(0, 11000, ranged=False)], [0, 4000]),
        ([LONGER, part(0, 11000, ranged=False)], [0, 12000]),
    ],
    ids=["goes on", "starts again where the server cannot", "keeps nothing of another file"],
)
def test_a_broken_connection_is_taken_up_again(target, answers, asked):
    with serving(*answers) as (url, requests):
        get(url)
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["resnet.pth"]
    ranges = [r.partition("Range: bytes=")[2].partition("-")[0] for r in requests]
    assert [int(start or 0) for start in ranges] == asked


NO_SPACE = r"no space in .*checkpoints for file://.*; nothing of it was kept\. Free some, or set T"


@pytest.mark.parametrize(
    ("error", "message"),
    [(OSError(errno.ENOSPC, "No space left on device"), NO_SPACE), (KeyboardInterrupt(), "^$")],
    ids=["a full disk", "Ctrl-C"],
)
def test_a_download_ended_from_here_leaves_no_file(source, target, monkeypatch, error, message):
    end = Mock(side_effect=error)
    monkeypatch.setattr("urllib.response.addinfourl.read", end, raising=False)
    with pytest.raises(type(error), match=message) as caught:
        get(source.as_uri())
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)
    assert left_in(target.parent) == []


def _says_three_things(message, url, target):
    assert message.startswith(f"cannot download {url} (")
    assert f"copy that file to {target};" in message
    assert "backbone.weights=/path/to/file.pth" in message
    assert "backbone.weights=random" in message


class NetworkUsedError(BaseException):
    """Raised where a name would be resolved or a connection opened."""


@pytest.fixture
def guarded_network(monkeypatch):
    refuse = Mock(side_effect=NetworkUsedError)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("guarded_network")
def test_offline_never_opens_a_connection(target, monkeypatch):
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    monkeypatch.setenv("KEEL_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="KEEL_OFFLINE is set") as caught:
        get(url)
    _says_three_things(str(caught.value), url, target)
    assert not target.parent.exists()

    for value in ("0", ""):  # the guard itself works
        monkeypatch.setenv("KEEL_OFFLINE", value)
        with pytest.raises(NetworkUsedError):
            get(url)


def test_what_a_killed_process_left_is_removed_by_the_next_download(target):
    """kill -9 leaves no time to tidy up; a file that was written to lately may be another's."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stale, fresh = (target.parent / f".resnet.pth.{name}.part" for name in ("old", "new"))
    stale.touch()
    fresh.touch()
    os.utime(stale, (0, 0))
    with serving(part(0, 11000, ranged=False)) as (url, _):
        get(url)
    assert not stale.exists()
    assert fresh.exists()
    assert target.read_bytes() == CONTENT
