"""Keys of a state dict are paths of parameters, and older names are still read."""

import pytest
import timm
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.func import functional_call
from transformers import DetrConfig, DetrForObjectDetection

from backbones import BackboneWithFPN, build_backbone, list_backbones
from backbones.adapters.huggingface import KeelBackboneConfig
from backbones.adapters.timm import TimmFeatures
from backbones.fpn import FPN
from tests.backbones.adapters.small import DETR, filled, read_again, same_tensors
from tests.backbones.adapters.timm_models import FAMILIES
from tests.backbones.errors import refuses

QUICK = [(name, "batch") for name in ("resnet18", "resnetv2_18", "timm/coat_lite_tiny")]
QUICK += [(name, "frozen_batch") for name in ("resnet18", "timm/regnety_002")]
ALL = [*((name, norm) for name in list_backbones() for norm in ("batch", "frozen_batch"))]
ALL += [(f"timm/{name}", "batch") for name in FAMILIES]
ALL += [("timm/levit_128s", "frozen_batch")]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in QUICK]

LARGER = [pytest.param(n, marks=pytest.mark.slow) for n in ("regnety_002", "convnext_atto")]
OTHERS = [pytest.param(n, marks=pytest.mark.slow) for n in ("resnet18", "test_convnext")]


def old_names(state):
    """A state dict as Keel wrote it when names in it were timm's."""
    return {key.replace("net.", "", 1): tensor for key, tensor in state.items()}


@pytest.mark.parametrize(("name", "norm"), [*QUICK, *SLOW])
def test_keys_are_paths(name, norm):
    with torch.device("meta"):
        backbone = build_backbone(name, weights="random", norm=norm)
    nested = nn.ModuleDict({"a": TimmFeatures(backbone)})
    state = nested.state_dict(keep_vars=True)
    parameters = dict(nested.named_parameters(remove_duplicate=False))
    buffers = dict(nested.named_buffers(remove_duplicate=False))
    assert parameters.keys() <= state.keys() <= parameters.keys() | buffers.keys()
    for key, tensor in state.items():
        owner, _, last = key.rpartition(".")
        assert getattr(nested.get_submodule(owner), last) is tensor
    if name != "timm/csatv2":  # it begins with a fixed transform, and timm states no convolution
        assert f"a.backbone.{backbone.first_conv}" in state
    names = set(backbone.file_state())
    assert {f"{backbone.key_prefix}{key}" for key in names} == set(backbone.state_dict())


@pytest.mark.parametrize("name", ["test_byobnet", "test_convnext", *LARGER, ""])
def test_parameters_can_be_given_from_outside(name, image):
    name = f"timm/{name}" if name else "resnet18"
    backbone, other = (filled(build_backbone(name)).eval() for _ in range(2))
    with torch.no_grad():
        for tensor in other.parameters():
            tensor.mul_(0.5)
    given = dict(other.state_dict())
    for state in (given, dict(other.named_parameters())):
        torch.testing.assert_close(functional_call(backbone, state, (image,)), other(image))
    assert any(not torch.equal(v, backbone(image)[k]) for k, v in other(image).items())


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_distributed_checkpoints_are_written_and_read(tmp_path, image):
    body = filled(build_backbone("timm/test_byobnet"))
    model = BackboneWithFPN(body, FPN(body.channels)).eval()
    state = get_model_state_dict(model)
    assert set(state) == set(model.state_dict())
    dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
    fresh = build_backbone("timm/test_byobnet")
    other = BackboneWithFPN(fresh, FPN(fresh.channels)).eval()
    empty = get_model_state_dict(other)
    dcp.load(empty, checkpoint_id=tmp_path, no_dist=True)
    set_model_state_dict(other, empty, options=StateDictOptions(strict=True))
    torch.testing.assert_close(other(image), model(image))


@pytest.mark.parametrize("name", ["test_byobnet", "test_convnext", *LARGER])
def test_older_names_and_timms_own_are_read(name):
    state = filled(timm.create_model(name, num_classes=0)).state_dict()
    body = build_backbone(f"timm/{name}")
    nested = nn.ModuleDict({"body": body})
    kept = {key: state[key] for key in body.file_state()}
    nested.load_state_dict({f"body.{key}": tensor for key, tensor in kept.items()})
    assert all(torch.equal(tensor, kept[key]) for key, tensor in body.file_state().items())
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"net\.wrong\""):
        body.load_state_dict({**kept, "wrong": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"net\."):
        body.load_state_dict(dict(list(kept.items())[1:]))


def test_older_names_of_fixed_norms_are_read_with_their_counters():
    state = filled(build_backbone("timm/test_byobnet")).state_dict()
    fixed = build_backbone("timm/test_byobnet", weights="random", norm="frozen_batch")
    fixed.load_state_dict(old_names(state), strict=True)
    assert all(torch.equal(tensor, state[key]) for key, tensor in fixed.state_dict().items())


@pytest.mark.parametrize("spelt", [dict, old_names], ids=["new", "old"])
def test_a_saved_state_dict_is_a_weight_file(spelt, save):
    state = filled(build_backbone("timm/test_byobnet")).state_dict()
    path = save({"model": {f"module.{k}": v for k, v in spelt(state).items()}})
    options = {"weights": path, "conventions": "imagenet", "in_channels": 1}
    read = build_backbone("timm/test_byobnet", **options, norm="frozen_batch").state_dict()
    first = "net.stem.conv.weight"
    torch.testing.assert_close(read.pop(first), state[first].sum(1, keepdim=True))
    assert all(torch.equal(tensor, state[key]) for key, tensor in read.items())


def test_a_copy_reads_both_spellings(clone):
    given = filled(build_backbone("timm/test_byobnet"))
    state = given.state_dict()
    for spelt in (state, old_names(state)):
        body = clone(build_backbone("timm/test_byobnet"))
        body.load_state_dict(spelt)
        same_tensors(body, given)


@pytest.mark.parametrize("name", ["test_byobnet", *OTHERS, *LARGER])
def test_detr_saves_and_reads_it(name, tmp_path, image):
    norm = "frozen_batch" if name in ("test_byobnet", "regnety_002") else "batch"
    made = KeelBackboneConfig(name=f"timm/{name}", weights="random", norm=norm)
    detr = DetrForObjectDetection(DetrConfig(backbone_config=made, num_labels=3, **DETR)).eval()
    filled(detr.model.backbone.model.body)
    other = read_again(detr, tmp_path)
    same_tensors(other, detr)
    # Equal but for the alignment of memory, by which sums differ.
    torch.testing.assert_close(other(image).logits, detr(image).logits, rtol=1e-4, atol=1e-5)


def test_an_activation_that_a_replaced_norm_takes_along_is_missed(image):
    """DETR puts plain fixed norms in the place of batch norms that activate as well."""
    made = KeelBackboneConfig(name="timm/test_byobnet", weights="random")
    detr = DetrForObjectDetection(DetrConfig(backbone_config=made, num_labels=3, **DETR))
    with refuses(r"timm/test_byobnet.*activation.*norm='frozen_batch'"):
        detr(image)
    plain = nn.SyncBatchNorm.convert_sync_batchnorm(build_backbone("timm/test_byobnet"))
    with refuses(r"batch norms that also apply the activation"):
        plain(image)
