"""Whatever stands around a backbone's tensors, they are found and nothing else is."""

import pytest
import torch

from backbones.weights.unwrap import backbone_state, unwrap
from tests.backbones.errors import refuses
from tests.backbones.weights.spelling import below

X = torch.zeros(1)
OURS = {"conv1.weight": X, "bn1.weight": X + 1, "layer1.0.conv1.weight": X + 2}
OPTIMIZER = {"state": {0: {"exp_avg": X}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize(
    "state",
    [
        OURS,
        OURS | {"fc.weight": X, "fc.bias": X},
        below("module.", OURS) | {"module.fc.weight": X},
        below("_orig_mod.module.", OURS),
        below("module.", OURS) | {"n_averaged": X},
        below("encoder.", OURS) | {"decoder.conv1.bias": X, "encoder.fc.weight": X},
        below("backbone.body.", OURS) | {"backbone.fpn.inner_blocks.0.0.weight": X},
    ],
    ids=["plain", "classifier", "parallel", "compiled", "averaged", "unet", "detector"],
)
def test_the_prefix_is_whatever_stands_before_the_first_convolution(state):
    assert backbone_state(state, first_conv="conv1.weight") == OURS


def test_a_backbone_with_another_first_convolution_is_found_by_it():
    state = {"net.stem.conv.weight": X, "net.stem.bias": X, "head.stem.bias": X}
    found = backbone_state(state, first_conv="stem.conv.weight")
    assert list(found) == ["stem.conv.weight", "stem.bias"]


@pytest.mark.parametrize(
    ("state", "count"),
    [
        ({"patch_embed.weight": X}, 0),
        ({"myconv1.weight": X}, 0),
        (below("encoder_q.", OURS) | below("encoder_k.", OURS), 2),
        ({"layer1.0.conv1.weight": X, "layer1.1.conv1.weight": X}, 2),
    ],
    ids=["other names", "no dot before", "two encoders", "no stem"],
)
def test_none_or_several_candidates_are_refused(state, count):
    message = rf"^expected one key that ends in 'conv1\.weight', found {count} among {len(state)}"
    with refuses(message):
        backbone_state(state, first_conv="conv1.weight")


OTHER = below("a.", OURS)
FOUND = {  # the checkpoint, and the keys that lead to the state dict in it
    "bare": (OURS, ""),
    "lightning": ({"state_dict": OURS, "optimizer_states": [{"state": {}}]}, "state_dict"),
    "torchvision's reference": ({"model": OURS, "optimizer": {"param_groups": []}}, "model"),
    "tutorial": ({"model_state_dict": OURS}, "model_state_dict"),
    "nested": ({"model": {"state_dict": OURS}}, "model.state_dict"),
    "beside plain values": (OURS | {"epoch": 3, "arch": "resnet18"}, ""),
    "torchvision's average": ({"model": OTHER, "model_ema": OURS}, "model_ema"),
    "timm's average": ({"state_dict": OTHER, "state_dict_ema": OURS}, "state_dict_ema"),
    "dino": ({"student": OTHER, "teacher": OURS}, "teacher"),
    "empty wrappers": ({"state_dict": {}, "model": {"epoch": 1}, "blobs": OURS}, "blobs"),
    **{k: ({k: OURS, "epoch": 3}, k) for k in ("net", "module", "network", "model_state")},
    "an encoder of two parts": ({"encoder": OURS, "decoder": OTHER}, "encoder"),
    "a backbone of two parts": ({"backbone": OURS, "head": OTHER}, "backbone"),
    "an average in a module": ({"net": OTHER, "ema": {"decay": 0.9, "module": OURS}}, "ema.module"),
    "an unknown key": ({"epoch": X, "my_own": OURS, "optimizer": OPTIMIZER}, "my_own"),
    "unknown keys": ({"run": {"best": {"weights": OURS}}, "config": {"lr": 1}}, "run.best.weights"),
    "an average under an unknown key": ({"net_g": OTHER, "net_g_ema": OURS}, "net_g_ema"),
    "an average that is none": ({"ema": {"decay": X}, "net_g": OURS}, "net_g"),
}


@pytest.mark.parametrize(("checkpoint", "under"), FOUND.values(), ids=FOUND)
def test_a_state_dict_is_found_in_what_frameworks_wrap_around_it(checkpoint, under):
    assert unwrap(checkpoint) == (under, OURS)


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 3}, {"model": {"epoch": 3}}])
def test_a_checkpoint_without_tensors_is_refused_with_its_keys(checkpoint):
    keys = ", ".join(map(repr, checkpoint))
    with refuses(rf"^expected a state dict .*, got the keys \[{keys}\]\.$"):
        unwrap(checkpoint)


def test_two_unknown_keys_that_hold_a_state_dict_are_named():
    message = r"^several keys hold a state dict, 'net_g', 'net_d'; expected one\. Save the one"
    with refuses(message):
        unwrap({"net_g": OURS, "net_d": OTHER, "epoch": 3})


def test_a_checkpoint_that_holds_itself_ends():
    endless = dict(OURS)
    endless["model"] = endless
    assert unwrap(endless) == ("model.model.model.model", OURS)
