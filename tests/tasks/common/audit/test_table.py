"""Norms whose statistics stay, the stage of each tensor, and the hash of its values."""

import pytest
import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct
from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from backbones import build_backbone
from backbones.adapters.timm.norms import FrozenBatchNorm1d
from tasks.common.audit.table import digest, norm_names, stage_of_names


class Detectron2Like(nn.Module):
    """Its buffers are those of detectron2's FrozenBatchNorm2d."""

    def __init__(self, count):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(count))
        self.register_buffer("num_batches_tracked", None)


FIXED = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize(
    ("norm", "fixed"),
    [
        (FrozenBatchNorm2d(4), FIXED),
        (FrozenBatchNormAct2d(4), FIXED),
        (FrozenBatchNorm1d(4), FIXED),
        (DetrFrozenBatchNorm2d(4), FIXED),
        (Detectron2Like(4), FIXED),
        (nn.BatchNorm2d(4), ()),
        (nn.BatchNorm2d(4, affine=False), ()),
        (BatchNormAct2d(4), ()),
        (GroupNormAct(4, num_groups=2), ()),
        (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), ()),
        (nn.Identity(), ()),
    ],
)
def test_fixed_norms_of_any_project_are_audited_and_those_that_learn_are_not(norm, fixed):
    module = nn.ModuleDict({"network": nn.Sequential(nn.Conv2d(3, 4, 1), norm)})
    assert norm_names(module) == {f"1.{name}" for name in fixed}


def test_every_fixed_norm_of_a_timm_model_is_audited():
    with torch.device("meta"):
        fixed = build_backbone("timm/regnety_002", weights="random", norm="frozen_batch")
        plain = build_backbone("timm/regnety_002")
    names = norm_names(nn.ModuleDict({"network": fixed}))
    counts = [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(names) == 4 * len(counts) > 100


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("timm/test_vit", {"stem", "c4"}),
        ("timm/levit_128s", {"stem", "c4", "c5", "c6"}),
        ("timm/pit_ti_224", {"stem", "c3", "c4", "c5"}),
        ("timm/test_convnext", {"stem", "c2", "c3", "c4", "c5"}),
        ("timm/selecsls42", {"stem", "c2", "c3", "c4", "c5", "c6"}),
        ("resnet18", {"stem", "c2", "c3", "c4", "c5"}),
    ],
)
def test_stages_are_named_by_their_stride(name, stages):
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert set(stage_of_names(nn.ModuleDict({"network": backbone}), backbone).values()) == stages


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_hash_is_of_the_values_and_not_of_their_layout(dtype):
    tensor = torch.randint(0, 2, (2, 3, 4, 5)).to(dtype)
    assert digest(tensor) == digest(tensor.to(memory_format=torch.channels_last))
    changed = tensor.clone()
    changed[1, 2, 3, 4] = 1 - changed[1, 2, 3, 4].int()
    assert digest(changed) != digest(tensor)
    assert digest(torch.tensor(3).to(dtype)) == digest(torch.tensor(3).to(dtype))
    assert digest(torch.zeros(1)) != digest(-torch.zeros(1))  # different bits
