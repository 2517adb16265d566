"""A trained-looking torchvision ResNet-18, and a place to save what a user might load."""

import copy
import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models._utils import IntermediateLayerGetter

from backbones import build_backbone
from tests.backbones.networks import trained_looking

LAYERS = {"relu": "c1", "layer1": "c2", "layer2": "c3", "layer3": "c4"}


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
def small(state):
    """Without c5, which is three quarters of it."""
    return {k: v for k, v in state.items() if not k.startswith("layer4.")}


@pytest.fixture
def shallow(state):
    """The stem and the first residual stage of it: 30 tensors, quick to save and to load."""
    return {k: v for k, v in state.items() if k.startswith(("conv1.", "bn1.", "layer1."))}


@pytest.fixture
def save(tmp_path):
    """Write an object to a file of that name, and return the path."""

    def write(content, name="weights.pth"):
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(content, path)
        else:
            torch.save(content, path)
        return path

    return write


@pytest.fixture
def same_features():
    """Load a file by its path alone, and compare with the network that it was made of.

    The network sees the image as its project prepares it, ours by the conventions that came with
    the file: a wrong mean, range or order of the colours would show.
    """

    def check(path, model, prepare, *, origin, **options):
        ours = build_backbone("resnet18", weights=path, out_features=[*LAYERS.values()], **options)
        assert f"\n  origin: {origin}" in ours.provenance
        told = ours.conventions
        mean, std = (torch.tensor(values)[:, None, None] for values in (told.mean, told.std))
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            expected = IntermediateLayerGetter(model, LAYERS)(prepare(image))
            found = ours.eval()((image - mean) / std)
        for name, feature in expected.items():
            size = feature.abs().max().item()
            torch.testing.assert_close(found[name], feature, rtol=1e-4, atol=1e-4 * size)
        return ours

    return check
