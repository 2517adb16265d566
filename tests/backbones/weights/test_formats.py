"""A file's format is recognised by its content; errors name it and say what to do."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from backbones.weights.read import read_checkpoint
from tests.backbones.errors import refuses
from tests.backbones.networks import starting
from tests.backbones.weights.small import build, holds
from tests.backbones.weights.spelling import written

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "counter": torch.tensor(7)}


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("resnet18.pth")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    return file.getvalue()


READ = {
    "torch": written(torch.save, STATE),
    "torch before 1.6": written(torch.save, STATE, _use_new_zipfile_serialization=False),
    "safetensors": save(STATE),
    "a pickle of arrays": pickle.dumps({key: v.numpy() for key, v in STATE.items()}, protocol=2),
}
COMPRESSED = {"xz": lzma.compress, "gz": gzip.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x.bin", "x.pkl", "x.ckpt.tar", "x"])
@pytest.mark.parametrize("kind", READ)
def test_a_file_is_read_under_any_name(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(READ[kind])
    torch.testing.assert_close(read_checkpoint(path), STATE, rtol=0, atol=0)


@pytest.mark.parametrize("way", COMPRESSED)
@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_compressed_file_is_read(tmp_path, kind, way, suffix):
    for name in (f"x.{suffix}.{way}", f"x.{suffix}"):
        (tmp_path / name).write_bytes(COMPRESSED[way](READ[kind]))
        torch.testing.assert_close(read_checkpoint(tmp_path / name), STATE, rtol=0, atol=0)


@pytest.mark.parametrize("kind", READ)
def test_a_truncated_file_is_called_so_wherever_it_was_cut(tmp_path, kind):
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pth")
    whole = READ[kind]
    for size in range(0, len(whole), 1 + len(whole) // 100):
        path.write_bytes(whole[:size])
        with refuses(r"x\..* is truncated or damaged|or is no torch"):
            read_checkpoint(path)


def test_a_compressed_file_that_is_cut_is_called_so(tmp_path):
    path = tmp_path / "x.pth.xz"
    for way in COMPRESSED.values():
        whole = way(READ["torch"])
        path.write_bytes(whole[: len(whole) // 2])
        with refuses(r"x\.pth\.xz is truncated or damaged"):
            read_checkpoint(path)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
PAGE = b'\n<!DOCTYPE html>\n<html lang="en"><head><title>Sign in</title></head></html>'
PROGRAM = zipped(m__archive_format="pt2", m__models__model="{}", m__byteorder="x")
FILES = zipped(**{"resnet18.pth": "x", "README.md": "y", "b.txt": "z"})
FOREIGN = {
    "git-lfs": (LFS, r"a pointer of Git LFS .*; run `git lfs pull`"),
    "git-annex": (b"/annex/objects/SHA256E-s9--00.pth\n", "pointer of git-annex.*git annex get"),
    "a web page": (PAGE, "a web page, as a server .*; fetch the weight file itself"),
    "a web page with a mark": (b"\xef\xbb\xbf" + PAGE, "a web page"),
    "S3's error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "an API's error": (b'{"error": "Not found"}', 'a text that begins with \'{"error": "Not fo'),
    "the hub's error": (b"Invalid username or password.", "a text that begins with 'Invalid user"),
    "an .npz": (written(np.savez, a=np.ones(2)), r"an \.npz archive .*torch\.from_numpy\(v\)"),
    "an .npy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "a single NumPy array"),
    "Keras, HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), r"an HDF5 file, as Keras .*give PyTorch w"),
    "Keras, zip": (zipped(**{"config.json": "{}", "model.weights.h5": "x"}), "a Keras archive"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x032.1:\x80\x01", "an ONNX model"),
    "Flax": (b"\x81\xa6params\x83\xa5conv1", "a msgpack file, as Flax"),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(99), "a TensorFlow Lite model"),
    "torch.export": (PROGRAM, r"a program of torch\.export"),
    "a zip of a file": (FILES, r"a zip archive of 3 files, such as 'README\.md'; unpack it"),
    "a tar": (tarred(), "a tar archive; unpack it"),
    "zstd": (b"(\xb5/\xfd" + bytes(99), "compressed by Zstandard; unpack it"),
    "7z": (b"7z\xbc\xaf'\x1c" + bytes(99), "a 7z archive"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG image"),
    "nothing": (b"", r"it has no content \(0 bytes\); fetch it again"),
    "a word": (b"hello", "a text that begins with 'hello'"),
}


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x.pkl"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, kind, name):
    content, message = FOREIGN[kind]
    (tmp_path / name).write_bytes(content)
    with refuses(rf"{name} is .*{message}"):
        read_checkpoint(tmp_path / name)
    (tmp_path / name).write_bytes(gzip.compress(content))
    with refuses(rf"{name}, under its compression, is .*{message}"):
        read_checkpoint(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_torchscript_archive_is_not_answered_with_unsafe_advice(tmp_path, name):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / name)
    with refuses(r"is a TorchScript archive, .*where you trust") as caught:
        read_checkpoint(tmp_path / name)
    assert "weights_only" not in str(caught.value)


def test_a_file_in_parts_is_read_by_its_index(tmp_path):
    names = list(STATE)
    for number, name in enumerate(names):
        save_file({name: STATE[name]}, tmp_path / f"model-{number}.safetensors")
    table = {name: f"model-{number}.safetensors" for number, name in enumerate(names)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    torch.testing.assert_close(read_checkpoint(index), STATE, rtol=0, atol=0)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no weight file '.*model-1\.safetensors'"):
        read_checkpoint(index)
    index.write_text(json.dumps({"weight_map": {"x": "../secret.safetensors"}}))
    with refuses(r"names '\.\./secret\.safetensors'; expected files besid"):
        read_checkpoint(index)


@pytest.fixture
def first(state, shallow):
    """The tensors of the stem, the first stage and the classifier."""
    return shallow | starting(state, "fc.")


@pytest.mark.parametrize(
    ("index", "where"), [(True, "which is there"), (False, "which is not there: fetch all")]
)
@pytest.mark.parametrize(("stem", "suffix"), [("model", "safetensors"), ("pytorch_model", "bin")])
def test_one_part_alone_is_answered_with_the_index(first, tmp_path, stem, suffix, index, where):
    path = tmp_path / f"{stem}-00002-of-00003.{suffix}"
    torch.save(first, path)
    if index:
        (tmp_path / f"{stem}.{suffix}.index.json").write_text("{}")
    message = rf"is part 2 of 3 of the weights; give their index .*/{stem}\.{suffix}\.index\.json, "
    with refuses(message + where):
        build(weights=path)
    whole = tmp_path / f"{stem}-00001-of-00001.{suffix}"
    torch.save(first, whole)
    assert build(weights=whole).conventions.mean[0] == 0.485


def test_a_compressed_file_reaches_the_backbone(shallow, save, tmp_path):
    path = tmp_path / "resnet18.pth.xz"
    path.write_bytes(lzma.compress(save(shallow).read_bytes(), preset=0))
    holds(build(weights=path, conventions="imagenet"), shallow)
