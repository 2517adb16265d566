"""A model of every large family of timm, on tensors without data: stages, freezing, features."""

import pytest
import torch

from backbones import build_backbone

pytestmark = pytest.mark.slow

FAMILIES = [
    "botnet26t_256",
    "coat_lite_tiny",
    "coatnet_nano_rw_224",
    "cs3darknet_s",
    "csatv2",
    "davit_tiny",
    "densenet121",
    "dla34",
    "dpn68",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvit_b0",
    "efficientvit_m0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "ghostnet_050",
    "hgnet_tiny",
    "hiera_tiny_224",
    "hrnet_w18_small",
    "inception_next_atto",
    "inception_v3",
    "legacy_seresnet18",
    "levit_128s",
    "mambaout_femto",
    "maxvit_nano_rw_256",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "nest_tiny",
    "nextvit_small",
    "nfnet_l0",
    "poolformer_s12",
    "pvt_v2_b0",
    "repghostnet_050",
    "repvit_m1",
    "res2net50_26w_4s",
    "resnest14d",
    "rexnet_100",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "tiny_vit_5m_224",
    "tf_efficientnetv2_b0",
    "twins_pcpvt_small",
    "vgg11",
    "visformer_tiny",
    "vit_tiny_patch16_224",
    "vovnet39a",
    "xception41",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_feature_depends_on_its_own_stage_and_none_after_it(name):
    with torch.device("meta"):
        backbone = build_backbone(f"timm/{name}").eval()
        stages = [[p for m in stage for p in m.parameters()] for stage in backbone.stages()]
        size = backbone.net.pretrained_cfg["input_size"]
        maps = backbone(torch.zeros(1, *size))
        ids = [i for stage in stages for i in {id(p) for p in stage}]  # CoaT shares modules
        assert sorted(ids) == sorted(id(p) for p in backbone.parameters())
        stem = len(stages) - len(maps)
        assert stem == ("c1" not in maps)
        for number, (key, value) in enumerate(maps.items(), start=stem):
            assert value.shape[1] == backbone.channels[key]
            assert 0.7 < size[1] / value.shape[2] / backbone.strides[key] < 1.4
            later = [p for stage in stages[number + 1 :] for p in stage]
            if not (inputs := [*stages[number], *later]):
                continue  # VGG's last feature is the maximum of the one before
            gradients = torch.autograd.grad(
                value.sum(), inputs, allow_unused=True, retain_graph=True
            )
            own = len(stages[number])
            assert all(g is not None for g in gradients[:own])
            assert all(g is None for g in gradients[own:])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convmixer_768_32", "a feature of stride 7"),
        ("crossvit_tiny_240", "a feature of stride"),
        ("gemma4_vit_167m", r"cannot be called on meta tensors"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(name, message):
    with pytest.raises(ValueError, match=rf"^timm/{name} cannot be built.*{message}"):
        build_backbone(f"timm/{name}")
