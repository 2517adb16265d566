"""A trained-looking torchvision ResNet-18, and a place to save what a user might load."""

import copy
import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tests.backbones.networks import small_of, starting, trained_looking


@pytest.fixture(params=[copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
def clone(request):
    """Copy a module, in memory or by way of a pickle."""
    return request.param


@pytest.fixture(scope="session")
def theirs():
    """Torchvision's ResNet-18 in eval mode, as if it was trained."""
    torch.manual_seed(1)
    return trained_looking(torchvision.models.resnet18(weights=None))


@pytest.fixture
def state(theirs):
    """Its whole state dict: 122 tensors."""
    return dict(theirs.state_dict())


@pytest.fixture
def small(theirs):
    """Without c4 and c5, which are nineteen twentieths of it."""
    return small_of(theirs)


@pytest.fixture
def shallow(state):
    """The stem and the first residual stage of it: 30 tensors, quick to save and to load."""
    return starting(state, "conv1.", "bn1.", "layer1.")


@pytest.fixture
def save(tmp_path):
    """Write an object to a file of that name, and return the path."""

    def write(content, name="weights.pth"):
        path = tmp_path / name
        (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
        return path

    return write
