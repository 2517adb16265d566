"""The same function as timm's, from timm's random weights, at every feature."""

import pytest
import timm
import torch
from torch import nn

from backbones import build_backbone
from backbones.resnet.variants import VARIANTS
from backbones.weights.renames import from_preactivation, preactivation_norms
from tests.backbones.networks import close, features_of, on_meta, trained_looking, without

QUICK = [  # (name, output stride)
    ("resnet18", 8),
    ("resnet18d", 16),
    ("resnet50d", 32),
    ("seresnet18", 32),
    ("ecaresnet50d", 32),
    ("res2net50_26w_4s", 8),
    ("res2net50_48w_2s", 32),
    ("resnetv2_18", 16),
    ("resnetv2_50", 32),
]
SHARED = [name for name in VARIANTS if name in timm.list_models()]
SLOW = [(name, 32) for name in SHARED if (name, 32) not in QUICK] + [
    (name, stride)
    for name in ("resnet50d", "seresnet50", "resnext50_32x4d", "res2net50_26w_4s", "resnetv2_50")
    for stride in (8, 16)
    if (name, stride) not in QUICK
]


def with_our_names(state):
    """timm's tensors without the classifier; only a pre-activation network has other names."""
    if "stem.conv.weight" in state:
        state = from_preactivation(state)
        state |= preactivation_norms(state)
    return without(state, "fc.")


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_features_are_timms(name, output_stride):
    options = {} if output_stride == 32 else {"output_stride": output_stride}
    theirs = trained_looking(timm.create_model(name, **options))
    ours = on_meta(build_backbone, name, output_stride=output_stride).eval()
    ours.load_state_dict(with_our_names(theirs.state_dict()), assign=True)
    image = torch.rand(1, 3, 64, 96)
    found = ours(image)
    if isinstance(ours.bn1, nn.Identity):
        del found["c1"]  # timm normalises it after the pool
    close(found, features_of(theirs, image))


def test_most_of_the_family_is_shared():
    """Those that are not: Caffe's stride, shortcuts A and C, CBAM, CIFAR's, gates, and v2-200."""
    alone = set(VARIANTS) - set(SHARED)
    kinds = ("_caffe", "_cifar", "wrn_", "cbam_", "dynamic_", "_zero_pad", "_projection", "v2_200")
    assert {name for name in alone if not any(kind in name for kind in kinds)} == set()


def test_cbam_is_timms():
    theirs = trained_looking(timm.models.resnet.resnet18(block_args={"attn_layer": "cbam"}))
    ours = build_backbone("cbam_resnet18").eval()
    state = without(theirs.state_dict(), "fc.")
    for old, new in (("spatial.conv.conv.", "spatial.conv.0."), ("conv.bn.", "conv.1.")):
        state = {key.replace(old, new): value for key, value in state.items()}
    ours.load_state_dict(state)
    image = torch.rand(1, 3, 64, 96)
    close(ours(image), features_of(theirs, image))


def test_stochastic_depth_falls_on_timms_line():
    theirs = timm.create_model("resnet18", drop_path_rate=0.35)
    ours = build_backbone("resnet18", drop_path=0.35)

    def rates(network, attribute):
        layers = (network.layer1, network.layer2, network.layer3, network.layer4)
        return [getattr(block.drop_path, attribute, 0.0) for layer in layers for block in layer]

    assert rates(ours, "p") == pytest.approx(rates(theirs, "drop_prob"))
    assert rates(ours, "p")[-1] == 0.35
