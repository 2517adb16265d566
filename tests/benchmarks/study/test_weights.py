"""What a weight file would load, and where."""

import pytest
import torch
from torchvision.models import resnet18

from benchmarks.study import weights
from benchmarks.study.weights import fitting, report


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return str(path)


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(weights, "list_backbones", lambda: ["resnet18", "resnet34", "resnet50"])


def test_a_file_is_reported_without_being_loaded_anywhere(file):
    loaded = report(file, "resnet18")
    # Six tensors a norm and its convolution; 2 blocks of 2, and a projection from c3 on.
    assert loaded.stages == ((6, 6), (24, 24), (30, 30), (30, 30), (30, 30))
    assert str(loaded).startswith(f"weights from {file}")


@pytest.mark.usefixtures("three")
def test_every_name_is_tried(file):
    found = fitting(file)
    assert list(found) == ["resnet18"]
    assert found["resnet18"] == report(file, "resnet18")


def test_a_file_of_another_architecture_is_refused(file):
    with pytest.raises(ValueError, match="do not fit 'resnet34': "):
        report(file, "resnet34")
    with pytest.raises(ValueError, match="unknown backbone 'resnet81'; did you mean 'resnet18'"):
        report(file, "resnet81")


@pytest.mark.usefixtures("three")
def test_a_file_that_fits_nothing_says_why_once(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"fits none of 3 backbones; 3 of them say: .*NAME"):
        fitting(str(path))


def test_a_file_that_is_not_there_is_answered_with_the_usage(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weight file .*; give the path of one, or a t"):
        fitting(str(tmp_path / "none.pth"))
