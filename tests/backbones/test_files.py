"""Weight files: nothing half, nothing run, nothing from the network when it is switched off."""

import hashlib
import socket
import threading
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError

import pytest
import torch
from torch import nn

from backbones.files import fetch, read_checkpoint

CONTENT = b"the weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def online(monkeypatch):
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
def target(tmp_path):
    return tmp_path / "hub" / "checkpoints" / "resnet.pth"


def left_in(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


@pytest.mark.usefixtures("online")
def test_a_download_takes_its_name_and_leaves_nothing_else(source, target, capsys):
    assert fetch(source.as_uri(), sha256=SHA256[:8], path=target) == target
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["resnet.pth"]
    assert "100%" in capsys.readouterr().err


@pytest.mark.usefixtures("online")
def test_what_is_there_is_not_downloaded_again(source, target, monkeypatch):
    fetch(source.as_uri(), sha256=SHA256[:8], path=target)
    source.unlink()
    monkeypatch.setenv("KEEL_OFFLINE", "1")
    assert fetch(source.as_uri(), sha256=SHA256[:8], path=target).read_bytes() == CONTENT


@pytest.mark.usefixtures("online")
def test_a_download_of_another_hash_leaves_no_file(source, target):
    with pytest.raises(
        ConnectionError, match=r'^cannot download file://.*expected "0123abcd", got'
    ):
        fetch(source.as_uri(), sha256="0123abcd", path=target)
    assert left_in(target.parent) == []


def test_a_file_that_was_damaged_since_is_refused_and_kept(source, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=rf"resnet\.pth has the sha256 .*, expected {SHA256[:8]}"):
        fetch(source.as_uri(), sha256=SHA256[:8], path=target)
    assert target.read_bytes() == CONTENT[:-1]


ANSWERS = {
    "cut short": b"HTTP/1.0 200 OK\r\nContent-Length: 11000\r\n\r\nthe wei",
    "cut short in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nthe wei",
    "a login page": b"HTTP/1.0 200 OK\r\n\r\n<html>Log in first</html>",
    "not found": b"HTTP/1.0 404 Not Found\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "nothing": b"",
}


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_failed_download_says_three_things_and_leaves_no_file(target, answer):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=_answer_once, args=(server, answer))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/resnet.pth"
        with pytest.raises(ConnectionError) as caught:
            fetch(url, sha256=SHA256[:8], path=target)
        thread.join()
    if isinstance(caught.value.__cause__, HTTPError):
        caught.value.__cause__.close()  # it is the answer as well, and holds the connection
    _says_three_things(str(caught.value), url, target)
    assert left_in(target.parent) == []


def _answer_once(server, answer):
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


def _says_three_things(message, url, target):
    assert message.startswith(f"cannot download {url} (")
    assert f"copy that file to {target};" in message
    assert "backbone.weights=/path/to/file.pth" in message
    assert "backbone.weights=random" in message


@pytest.mark.usefixtures("online")
def test_ctrl_c_in_a_download_leaves_no_file(source, target, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("urllib.response.addinfourl.read", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        fetch(source.as_uri(), sha256=SHA256[:8], path=target)
    assert left_in(target.parent) == []


class NetworkUsedError(BaseException):
    """Raised where a name would be resolved or a connection opened."""


@pytest.fixture
def guarded_network(monkeypatch):
    def refuse(*_, **__):
        raise NetworkUsedError

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("guarded_network")
def test_offline_never_opens_a_connection(target, monkeypatch):
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    monkeypatch.setenv("KEEL_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="KEEL_OFFLINE is set") as caught:
        fetch(url, sha256="f37072fd", path=target)
    _says_three_things(str(caught.value), url, target)
    assert not target.parent.exists()

    for value in ("0", ""):  # the guard itself works
        monkeypatch.setenv("KEEL_OFFLINE", value)
        with pytest.raises(NetworkUsedError):
            fetch(url, sha256="f37072fd", path=target)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_tensors_come_back_as_they_were_saved(save, suffix):
    state = {"conv1.weight": torch.randn(2, 3), "counter": torch.tensor(7)}
    found = read_checkpoint(save(state, f"weights{suffix}"))
    torch.testing.assert_close(found, state, rtol=0, atol=0)


class Payload:
    """What a malicious file would hold: unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_is_not_run(tmp_path, zipped):
    path, proof = tmp_path / "weights.pth", tmp_path / "pwned"
    content = {"conv1.weight": torch.zeros(1), "hook": Payload(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"more than tensors and plain values.*could run code"):
        read_checkpoint(path)
    assert not proof.exists()

    torch.load(path, weights_only=False)  # the payload itself works
    assert proof.exists()


def test_a_pickled_module_is_answered_with_what_to_save_instead(save):
    with pytest.raises(ValueError, match=r"Save it again with torch\.save\(state_dict\)\.$"):
        read_checkpoint(save(nn.Linear(2, 2)))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_called_so_wherever_it_was_cut(save, kind):
    state = {"conv1.weight": torch.randn(2, 3), "bn1.weight": torch.ones(2)}
    path = save(state, "weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for size in range(0, len(whole), len(whole) // 100):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"weights\..* is truncated or damaged|or is no torch"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<html>404</html>", b"PK\x03\x04", b"\x80\x02"]
)
def test_what_is_no_weight_file_is_called_so(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth .*(or no weight file|or is no torch file)"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), 3])
def test_what_is_no_dictionary_is_refused(save, content):
    message = rf"holds a {type(content).__name__}, expected a state dict\. Save one with"
    with pytest.raises(ValueError, match=message):
        read_checkpoint(save(content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no weight file '.*gone\.pth'; expected a \.pth"):
        read_checkpoint(tmp_path / "gone.pth")
    with pytest.raises(FileNotFoundError, match="no weight file"):
        read_checkpoint(tmp_path)
