"""Models of timm with their norms folded, against the same models in eval mode."""

import pytest
import torch

from backbones import build_backbone, fuse
from tests.backbones.adapters.timm_models import FAMILIES
from tests.backbones.errors import refuses
from tests.backbones.test_fusion import difference, norms_in, trained

QUICK = ["test_efficientnet", "test_resnet"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in QUICK]


def refusal(network):
    try:
        fuse(network)
    except ValueError as error:
        return str(error)
    return ""


def built(name, **options):
    network = trained(build_backbone(f"timm/{name}", weights="random", **options))
    return network, torch.rand(1, *network.net.pretrained_cfg["input_size"])


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_a_fused_model_is_eager(name):
    network, image = built(name)
    if not norms_in(network):
        pytest.skip("it has no batch norm")
    fused = fuse(network, other_norms="keep")
    assert difference(network, fused, image) < 1e-4
    assert len(norms_in(fused)) < len(norms_in(network))
    message = refusal(network)
    assert "cannot follow" not in message
    assert "of its own" not in message


@pytest.mark.parametrize(
    "name", ["test_efficientnet", pytest.param("levit_128", marks=pytest.mark.slow)]
)
def test_frozen_batch_norms_are_folded_and_activations_stay(name):
    network, image = built(name, norm="frozen_batch")
    fused = fuse(network)
    assert difference(network, fused, image) < 1e-5
    assert len(norms_in(fused)) == len(norms_in(fuse(built(name)[0]))) < len(norms_in(network))


def test_norms_of_tokens_are_refused_by_name():
    network, image = built("test_convnext")
    with refuses(r"these norms: net.stem.1 \(LayerNorm2d, which .* and \d+ more; give"):
        fuse(network)
    assert difference(network, fuse(network, other_norms="keep"), image) == 0
