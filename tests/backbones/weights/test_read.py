"""Weight files are read without running anything in them, and called what they are."""

import pickle
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from backbones.weights.read import read_checkpoint, read_metadata
from tests.backbones.errors import refuses
from tests.backbones.weights.spelling import written


@pytest.mark.parametrize("content", [nn.Linear(2, 2), {"x": nn.Linear(2, 2)}])
def test_a_pickled_module_is_named_and_answered_with_what_to_save_instead(save, content):
    named = r"plain values \(torch\.nn\.modules\.linear\.Linear\).*"
    with refuses(rf"{named} Save it again with torch\.save\(state_dict\), where"):
        read_checkpoint(save(content))


@pytest.mark.parametrize("content", [b"", b"\x00hello", b"PK\x03\x04", b"\x80\x02"])
def test_what_is_no_weight_file_is_called_so(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with refuses(r"weights\.pth .*(or no weight file|or is no torch file)"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), 3])
def test_what_is_no_dictionary_is_refused(save, content):
    with refuses(rf"holds a {type(content).__name__}, expected a state dict\. Save one with"):
        read_checkpoint(save(content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no weight file '.*gone\.pth'; expected a \.pth"):
        read_checkpoint(tmp_path / "gone.pth")
    with pytest.raises(FileNotFoundError, match="no weight file"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?"])
def test_a_pickle_of_arrays_gives_their_values(tmp_path, protocol, dtype):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = {
        "model": OrderedDict(a=values, b=np.asfortranarray(values), c=values[:0]),
        "list": [values.transpose(2, 0, 1), (np.float32(2.5), 7, "x", None, b"y")],
    }
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_checkpoint(path)
    expected = torch.from_numpy(values)
    model = found["model"]
    assert model["a"].dtype == expected.dtype
    assert torch.equal(model["a"], expected)
    assert torch.equal(model["b"], expected)
    assert model["c"].shape == (0, 3, 4)
    assert torch.equal(found["list"][0], expected.permute(2, 0, 1))
    assert found["list"][1] == (torch.tensor(2.5), 7, "x", None, b"y")
    model["a"].zero_()  # it may be written to


def test_a_pickle_of_python_2_is_read(tmp_path):
    """As Python 2 and NumPy 1 wrote it: text for bytes, and the old name of the module."""
    data = np.array([[1.5, -2.0]], dtype="<f4")
    text = data.tobytes().decode("latin1").encode("latin1")
    numpy_array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\nI2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"U" + bytes([len(text)]) + text + b"tb"
    )
    path = tmp_path / "R-50.pkl"
    path.write_bytes(b"(dS'conv1_w'\n" + numpy_array + b"s.")
    assert torch.equal(read_checkpoint(path)["conv1_w"], torch.tensor([[1.5, -2.0]]))


class Call:
    """What a malicious file holds: calls a function when it is read."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def payloads(proof):
    """Return files that would each make a file, or reach for something that could."""
    code = f"open({str(proof)!r}, 'w').close()"
    getter = b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR."
    touching = {"conv1.weight": torch.zeros(1), "hook": Call(Path.touch, Path(proof))}
    return {
        "torch": written(torch.save, touching),
        "torch before 1.6": written(torch.save, touching, _use_new_zipfile_serialization=False),
        "system": pickle.dumps({"x": Call(__import__("os").system, f"touch {proof}")}),
        "eval": pickle.dumps({"x": Call(eval, code)}),
        "exec": pickle.dumps({"x": Call(exec, code)}),
        "getattr": getter,
        "numpy's getattr": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__class__\x93.",
        "numpy's load": b"cnumpy\nload\n(S'x'\ntR.",
        "numpy's own os": b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93\x8c\x01x\x85R.",
        "a type that lies": pickle.dumps({"x": np.array([None, 1], dtype=object)}),
        "dotted": b"\x80\x04\x8c\x0bcollections\x8c\x13OrderedDict.__init__\x93.",
        "persistent": b"Pabc\n.",
        "extension": b"\x82\x01.",
    }


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("kind", payloads("x"))
def test_code_in_a_file_is_not_run(tmp_path, suffix, kind):
    proof = tmp_path / "pwned"
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(payloads(proof)[kind])
    works = {"torch", "torch before 1.6", "system", "eval", "exec"}
    named = "more than tensors and plain values.*could run code"
    with refuses(named if kind in works else rf"{named}|is truncated or damaged"):
        read_checkpoint(path)
    assert not proof.exists()
    if kind in works:  # the payload itself works
        if kind.startswith("torch"):
            torch.load(path, weights_only=False)
        else:
            pickle.loads(path.read_bytes())  # noqa: S301
        assert proof.exists()


def test_a_pickle_cannot_change_what_reads_the_next_one(tmp_path):
    """BUILD sets the attributes of whatever it is given, classes included."""
    path = tmp_path / "weights.pkl"
    for target in (b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n"):
        path.write_bytes(target + b"(N(dS'__init__'\nI1\nstb.")
        with refuses("is truncated or damaged"):
            read_checkpoint(path)
    good = np.ones(3, dtype="f4")
    path.write_bytes(pickle.dumps({"x": good, "y": OrderedDict(z=1)}))
    assert torch.equal(read_checkpoint(path)["x"], torch.ones(3))


def test_what_a_pickle_was_refused_for_is_named(tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"x": Path("x")}))
    with refuses(r"plain values \(pathlib\.\w+\), or is no torch file"):
        read_checkpoint(path)


def test_arguments_and_scores_beside_the_weights_do_no_harm(save):
    """A full checkpoint of DINO or timm: argparse's namespace, and NumPy's numbers."""
    content = {
        "teacher": {"x": torch.ones(2)},
        "args": Namespace(lr=0.1, arch="resnet50"),
        "best": np.float64(76.5),
        "curve": np.arange(3.0),
    }
    found = read_checkpoint(save(content))
    assert torch.equal(found["teacher"]["x"], torch.ones(2))
    assert found["args"] == Namespace(lr=0.1, arch="resnet50")
    assert found["best"] == 76.5
    assert torch.equal(found["curve"], torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize("name", ["model.safetensors", "x.pth"])
@pytest.mark.parametrize("other", ["[broken", '["no table"]'])
def test_metadata_are_the_files_own_and_the_json_beside(tmp_path, name, other):
    path = tmp_path / name
    save_file({"x": torch.ones(1)}, path, metadata={"keel": '{"mean": [0.5]}', "format": "pt"})
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    (tmp_path / "preprocessor_config.json").write_text(other)
    notes = {"keel": {"mean": [0.5]}, "config.json": {"architecture": "resnet18"}}
    assert read_metadata(path) == notes
