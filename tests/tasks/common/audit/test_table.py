"""What counts as a norm whose statistics stay, and whose tensor is of which stage."""

import pytest
import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct
from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from backbones import build_backbone
from backbones.adapters.timm.norms import FrozenBatchNorm1d
from tasks.common.audit.table import norm_names, stage_of_names


class Detectron2Like(nn.Module):
    """Its buffers are those of detectron2's FrozenBatchNorm2d."""

    def __init__(self, count):
        super().__init__()
        self.register_buffer("weight", torch.ones(count))
        self.register_buffer("bias", torch.zeros(count))
        self.register_buffer("running_mean", torch.zeros(count))
        self.register_buffer("running_var", torch.ones(count))
        self.register_buffer("num_batches_tracked", None)


FIXED = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize(
    "norm",
    [
        FrozenBatchNorm2d,
        FrozenBatchNormAct2d,
        FrozenBatchNorm1d,
        DetrFrozenBatchNorm2d,
        Detectron2Like,
    ],
)
def test_fixed_norms_of_any_project_are_audited(norm):
    module = nn.ModuleDict({"network": nn.Sequential(nn.Conv2d(3, 4, 1), norm(4))})
    assert norm_names(module) == {f"1.{name}" for name in FIXED}


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        BatchNormAct2d(4),
        GroupNormAct(4, num_groups=2),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.Identity(),
    ],
)
def test_norms_that_learn_or_follow_the_images_are_not(norm):
    assert norm_names(nn.ModuleDict({"network": nn.Sequential(norm)})) == set()


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
