"""Every built-in variant, one line each."""

from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """What makes one ResNet variant differ from another."""

    # which residual block the stages are made of
    block: Literal["basic", "bottleneck", "res2", "preact_basic", "preact_bottleneck"]
    depths: tuple[int, ...]  # blocks per stage, from the finest to the coarsest
    # the layers before the first stage: one 7x7 convolution or three 3x3 ones and a max-pool,
    # stride 4 in all; or, for the 32x32 images of CIFAR, one 3x3, stride 1
    stem: Literal["conv7", "deep", "conv3"] = "conv7"
    stem_width: int = 64  # channels of the stem
    width: int = 64  # nominal channels of the first stage; each further stage doubles them
    groups: int = 1  # groups of the 3x3 convolution (ResNeXt's cardinality)
    width_per_group: int = 64  # channels per group in the first stage
    scale: int = 1  # into how many parts a Res2Net block splits its channels
    # where the shape changes, a projection (B of He et al.) or zeros for the new channels (A); a
    # projection everywhere (C); or a mean before the projection (ResNet-D)
    shortcut: Literal["projection", "zero_pad", "projection_always", "average"] = "projection"
    stride_in_1x1: bool = False  # as in Caffe's bottlenecks, instead of in the 3x3
    attention: Literal["none", "se", "eca", "cbam"] = "none"  # of `ATTENTIONS`
    gate: Literal["none", "input"] = "none"  # a key of `backbones.layers.gate.GATES`
    parameters: int  # parameters of the published model without its classifier; a test checks it
    source: str = "arXiv:1512.03385, table 1"  # where ``parameters`` and the design come from


_18 = ResNetSpec(block="basic", depths=(2, 2, 2, 2), parameters=11_176_512)
_34 = replace(_18, depths=(3, 4, 6, 3), parameters=21_284_672)
_50 = ResNetSpec(block="bottleneck", depths=(3, 4, 6, 3), parameters=23_508_032)
_101 = replace(_50, depths=(3, 4, 23, 3), parameters=42_500_160)
_152 = replace(_50, depths=(3, 8, 36, 3), parameters=58_143_808)
_200 = replace(
    _50, depths=(3, 24, 36, 3), parameters=62_624_832, source="arXiv:1603.05027, table 5"
)
_X50 = replace(_50, groups=32, width_per_group=4, source="arXiv:1611.05431, table 1")
_X101 = replace(_101, groups=32, width_per_group=8, source="arXiv:1611.05431, table 1")
_WIDE = "arXiv:1605.07146, section 3"
_ZEROS = "arXiv:1512.03385, table 3"
_D = "arXiv:1812.01187, figure 2"
_SE = "arXiv:1709.01507, table 2"
_ECA = "arXiv:1910.03151, table 3"
_CBAM = "arXiv:1807.06521, table 4"
_V2 = "arXiv:1603.05027, table 5"
_GATED = "after arXiv:1711.11503"
_50D = replace(_50, stem="deep", shortcut="average", parameters=23_527_264, source=_D)
_101D = replace(_101, stem="deep", shortcut="average", parameters=42_519_392, source=_D)
_R2 = replace(_50, block="res2", width_per_group=26, scale=4, source="arXiv:1904.01169, table 3")
_CIFAR = ResNetSpec(
    block="basic",
    depths=(3, 3, 3),
    stem="conv3",
    stem_width=16,
    width=16,
    shortcut="zero_pad",
    parameters=269_072,
    source="arXiv:1512.03385, table 6",
)
_CIFAR_V2 = replace(
    _CIFAR, block="preact_basic", shortcut="projection", source="arXiv:1603.05027, table 4"
)
_CIFAR_V2_NECK = replace(_CIFAR_V2, block="preact_bottleneck")
_WRN = replace(_CIFAR_V2, source="arXiv:1605.07146, table 4")

VARIANTS: Final[dict[str, ResNetSpec]] = {
    "resnet18": _18,
    "resnet34": _34,
    "resnet50": _50,
    "resnet101": _101,
    "resnet152": _152,
    "resnet200": _200,
    "resnext50_32x4d": replace(_X50, parameters=22_979_904),
    "resnext101_32x4d": replace(_X101, width_per_group=4, parameters=42_128_704),
    "resnext101_32x8d": replace(_X101, parameters=86_742_336),
    "resnext101_64x4d": replace(_X101, groups=64, width_per_group=4, parameters=81_406_272),
    "wide_resnet50_2": replace(_50, width_per_group=128, parameters=66_834_240, source=_WIDE),
    "wide_resnet101_2": replace(_101, width_per_group=128, parameters=124_837_696, source=_WIDE),
    "resnet34_zero_pad": replace(_34, shortcut="zero_pad", parameters=21_110_848, source=_ZEROS),
    "resnet34_projection": replace(
        _34, shortcut="projection_always", parameters=22_203_840, source=_ZEROS
    ),
    "resnet50_caffe": replace(_50, stride_in_1x1=True),
    "resnet101_caffe": replace(_101, stride_in_1x1=True),
    "resnet152_caffe": replace(_152, stride_in_1x1=True),
    "resnet18d": replace(_18, stem="deep", shortcut="average", parameters=11_195_744, source=_D),
    "resnet34d": replace(_34, stem="deep", shortcut="average", parameters=21_303_904, source=_D),
    "resnet50d": _50D,
    "resnet101d": _101D,
    "resnet152d": replace(_152, stem="deep", shortcut="average", parameters=58_163_040, source=_D),
    "resnet200d": replace(_200, stem="deep", shortcut="average", parameters=62_644_064, source=_D),
    "seresnet18": replace(_18, attention="se", parameters=11_266_624, source=_SE),
    "seresnet34": replace(_34, attention="se", parameters=21_447_416, source=_SE),
    "seresnet50": replace(_50, attention="se", parameters=26_039_024, source=_SE),
    "seresnet101": replace(_101, attention="se", parameters=47_277_872, source=_SE),
    "seresnet152": replace(_152, attention="se", parameters=64_772_848, source=_SE),
    "seresnext50_32x4d": replace(_X50, attention="se", parameters=25_510_896, source=_SE),
    "seresnext101_32x4d": replace(
        _X101, width_per_group=4, attention="se", parameters=46_906_416, source=_SE
    ),
    "seresnext101_32x8d": replace(_X101, attention="se", parameters=91_520_048, source=_SE),
    "ecaresnet50d": replace(_50D, attention="eca", parameters=23_527_350, source=_ECA),
    "ecaresnet101d": replace(_101D, attention="eca", parameters=42_519_563, source=_ECA),
    "cbam_resnet18": replace(_18, attention="cbam", parameters=11_264_352, source=_CBAM),
    "cbam_resnet50": replace(_50, attention="cbam", parameters=26_024_576, source=_CBAM),
    "cbam_resnet101": replace(_101, attention="cbam", parameters=47_246_628, source=_CBAM),
    "res2net50_26w_4s": replace(_R2, parameters=23_650_120),
    "res2net50_48w_2s": replace(_R2, width_per_group=48, scale=2, parameters=23_238_304),
    "res2net50_14w_8s": replace(_R2, width_per_group=14, scale=8, parameters=23_010_816),
    "res2net50_26w_6s": replace(_R2, scale=6, parameters=35_002_448),
    "res2net50_26w_8s": replace(_R2, scale=8, parameters=46_354_776),
    "res2net101_26w_4s": replace(_R2, depths=_101.depths, parameters=43_157_688),
    "resnetv2_18": replace(_18, block="preact_basic", parameters=11_174_720, source=_V2),
    "resnetv2_34": replace(_34, block="preact_basic", parameters=21_282_880, source=_V2),
    "resnetv2_50": replace(_50, block="preact_bottleneck", parameters=23_500_352, source=_V2),
    "resnetv2_101": replace(_101, block="preact_bottleneck", parameters=42_492_480, source=_V2),
    "resnetv2_152": replace(_152, block="preact_bottleneck", parameters=58_136_128, source=_V2),
    "resnetv2_200": replace(_200, block="preact_bottleneck", parameters=62_617_152, source=_V2),
    "resnet20_cifar": _CIFAR,
    "resnet56_cifar": replace(_CIFAR, depths=(9, 9, 9), parameters=852_368),
    "resnet110_cifar": replace(_CIFAR, depths=(18, 18, 18), parameters=1_727_312),
    "resnetv2_110_cifar": replace(_CIFAR_V2, depths=(18, 18, 18), parameters=1_729_872),
    "resnetv2_164_cifar": replace(_CIFAR_V2_NECK, depths=(18, 18, 18), parameters=1_700_688),
    "resnetv2_1001_cifar": replace(_CIFAR_V2_NECK, depths=(111, 111, 111), parameters=10_325_136),
    "wrn_28_10": replace(_WRN, width=160, depths=(4, 4, 4), parameters=36_472_784),
    "wrn_40_4": replace(_WRN, width=64, depths=(6, 6, 6), parameters=8_946_640),
    "dynamic_resnet18": replace(_18, gate="input", parameters=11_204_096, source=_GATED),
    "dynamic_resnet34": replace(_34, gate="input", parameters=21_347_568, source=_GATED),
    "dynamic_resnet50": replace(_50, gate="input", parameters=24_505_272, source=_GATED),
    "dynamic_resnet101": replace(_101, gate="input", parameters=44_613_705, source=_GATED),
}
