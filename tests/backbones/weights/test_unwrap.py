"""Whatever stands around a backbone's tensors, they are found and nothing else is."""

import pytest
import torch

from backbones.weights.unwrap import backbone_state, unwrap

X = torch.zeros(1)
OURS = {"conv1.weight": X, "bn1.weight": X + 1, "layer1.0.conv1.weight": X + 2}


OPTIMIZER = {"state": {0: {"exp_avg": X}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def prefixed(prefix):
    return {prefix + name: tensor for name, tensor in OURS.items()}


@pytest.mark.parametrize(
    "state",
    [
        OURS,
        OURS | {"fc.weight": X, "fc.bias": X},
        prefixed("module.") | {"module.fc.weight": X},
        prefixed("_orig_mod.module."),
        prefixed("module.") | {"n_averaged": X},
        prefixed("encoder.") | {"decoder.conv1.bias": X, "encoder.fc.weight": X},
        prefixed("backbone.body.") | {"backbone.fpn.inner_blocks.0.0.weight": X},
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
        (prefixed("encoder_q.") | prefixed("encoder_k."), 2),
        ({"layer1.0.conv1.weight": X, "layer1.1.conv1.weight": X}, 2),
    ],
    ids=["other names", "no dot before", "two encoders", "no stem"],
)
def test_none_or_several_candidates_are_refused(state, count):
    message = rf"^expected one key that ends in 'conv1\.weight', found {count} among {len(state)}"
    with pytest.raises(ValueError, match=message):
        backbone_state(state, first_conv="conv1.weight")


@pytest.mark.parametrize(
    ("checkpoint", "under"),
    [
        (OURS, ""),
        ({"state_dict": OURS, "epoch": 3, "optimizer_states": [{"state": {}}]}, "state_dict"),
        ({"model": OURS, "optimizer": {"param_groups": []}}, "model"),
        ({"model_state_dict": OURS}, "model_state_dict"),
        ({"model": {"state_dict": OURS}}, "model.state_dict"),
        (OURS | {"epoch": 3, "arch": "resnet18"}, ""),
        ({"model": prefixed("a."), "model_ema": OURS}, "model_ema"),
        ({"state_dict": prefixed("a."), "state_dict_ema": OURS, "arch": "x"}, "state_dict_ema"),
        ({"student": prefixed("a."), "teacher": OURS}, "teacher"),
        ({"state_dict": {}, "model": {"epoch": 1}, "blobs": OURS}, "blobs"),
        *[({key: OURS, "epoch": 3}, key) for key in ("net", "module", "network", "model_state")],
        ({"encoder": OURS, "decoder": prefixed("a.")}, "encoder"),
        ({"backbone": OURS, "head": prefixed("a.")}, "backbone"),
        ({"net": prefixed("a."), "ema": {"decay": 0.9, "module": OURS}}, "ema.module"),
        ({"epoch": torch.tensor(3), "my_own": OURS, "optimizer": OPTIMIZER}, "my_own"),
        ({"run": {"best": {"weights": OURS}}, "config": {"lr": 1}}, "run.best.weights"),
        ({"net_g": prefixed("a."), "net_g_ema": OURS}, "net_g_ema"),
        ({"ema": {"decay": X}, "net_g": OURS}, "net_g"),
    ],
    ids=[
        "bare",
        "lightning",
        "torchvision's reference",
        "tutorial",
        "nested",
        "beside plain values",
        "torchvision's average",
        "timm's average",
        "dino",
        "empty wrappers",
        "net",
        "module",
        "network",
        "model_state",
        "an encoder of two parts",
        "a backbone of two parts",
        "an average in a module",
        "an unknown key, beside an optimiser",
        "unknown keys",
        "an average under an unknown key",
        "an average that is none",
    ],
)
def test_a_state_dict_is_found_in_what_frameworks_wrap_around_it(checkpoint, under):
    assert unwrap(checkpoint) == (under, OURS)


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 3}, {"model": {"epoch": 3}}])
def test_a_checkpoint_without_tensors_is_refused_with_its_keys(checkpoint):
    keys = ", ".join(map(repr, checkpoint))
    with pytest.raises(ValueError, match=rf"^expected a state dict .*, got the keys \[{keys}\]\.$"):
        unwrap(checkpoint)


def test_two_unknown_keys_that_hold_a_state_dict_are_named():
    message = r"^several keys hold a state dict, 'net_g', 'net_d'; expected one\. Save the one"
    with pytest.raises(ValueError, match=message):
        unwrap({"net_g": OURS, "net_d": prefixed("a."), "epoch": 3})


def test_a_checkpoint_that_holds_itself_ends():
    endless = dict(OURS)
    endless["model"] = endless
    assert unwrap(endless) == ("model.model.model.model", OURS)
