"""Every built-in variant, one line each."""

from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """What makes one ResNet variant differ from another.

    Attributes:
        block: Which residual block the stages are made of.
        depths: Blocks per stage, from the finest to the coarsest.
        stem: What stands before the first stage: one 7x7 convolution or three 3x3 ones and a
            max-pool, stride 4 in all; or, for the 32x32 images of CIFAR, one 3x3, stride 1.
        stem_width: Channels of the stem.
        width: Nominal channels of the first stage; each further stage doubles them.
        groups: Groups of the 3x3 convolution (ResNeXt's cardinality).
        width_per_group: Channels per group in the first stage.
        scale: Into how many parts a Res2Net block splits its channels.
        shortcut: Where the shape changes, a projection (B of He et al.) or zeros for the new
            channels (A); a projection everywhere (C); or a mean before the projection (ResNet-D).
        stride_in_1x1: Whether a bottleneck's stride is in its first convolution, as in the paper
            and in Caffe's weights, instead of in its 3x3.
        attention: A key of `backbones.layers.attention.ATTENTIONS`.
        gate: A key of `backbones.layers.gate.GATES`.
        parameters: Parameters of the published model without its classifier; a test checks it.
        source: Where ``parameters`` and the design come from.
    """

    block: Literal["basic", "bottleneck", "res2", "preact_basic", "preact_bottleneck"]
    depths: tuple[int, ...]
    stem: Literal["conv7", "deep", "conv3"] = "conv7"
    stem_width: int = 64
    width: int = 64
    groups: int = 1
    width_per_group: int = 64
    scale: int = 1
    shortcut: Literal["projection", "zero_pad", "projection_always", "average"] = "projection"
    stride_in_1x1: bool = False
    attention: Literal["none", "se", "eca", "cbam"] = "none"
    gate: Literal["none", "input"] = "none"
    parameters: int
    source: str = "arXiv:1512.03385, table 1"


def _d(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    """ResNet-D: three 3x3 convolutions as the stem, a mean before each projection."""
    source = "arXiv:1812.01187, figure 2"
    return replace(spec, stem="deep", shortcut="average", parameters=parameters, source=source)


def _se(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    return replace(spec, attention="se", parameters=parameters, source="arXiv:1709.01507, table 2")


def _eca(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    return replace(spec, attention="eca", parameters=parameters, source="arXiv:1910.03151, table 3")


def _cbam(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    source = "arXiv:1807.06521, table 4"
    return replace(spec, attention="cbam", parameters=parameters, source=source)


def _gated(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    """Residuals of which the input decides how much counts."""
    return replace(spec, gate="input", parameters=parameters, source="after arXiv:1711.11503")


def _caffe(spec: ResNetSpec) -> ResNetSpec:
    """The stride in the 1x1 convolution, as the paper and Caffe's weights have it."""
    return replace(spec, stride_in_1x1=True)


def _basic_v2(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    source = "arXiv:1603.05027, table 5"
    return replace(spec, block="preact_basic", parameters=parameters, source=source)


def _v2(spec: ResNetSpec, parameters: int) -> ResNetSpec:
    source = "arXiv:1603.05027, table 5"
    return replace(spec, block="preact_bottleneck", parameters=parameters, source=source)


def _cifar(spec: ResNetSpec, depth: int, parameters: int) -> ResNetSpec:
    """Three stages of as many blocks each."""
    return replace(spec, depths=(depth,) * 3, parameters=parameters)


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
_50D = _d(_50, 23_527_264)
_101D = _d(_101, 42_519_392)
_WIDE = "arXiv:1605.07146, section 3"
_ZEROS = "arXiv:1512.03385, table 3"
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
    "resnet50_caffe": _caffe(_50),
    "resnet101_caffe": _caffe(_101),
    "resnet152_caffe": _caffe(_152),
    "resnet18d": _d(_18, 11_195_744),
    "resnet34d": _d(_34, 21_303_904),
    "resnet50d": _50D,
    "resnet101d": _101D,
    "resnet152d": _d(_152, 58_163_040),
    "resnet200d": _d(_200, 62_644_064),
    "seresnet18": _se(_18, 11_266_624),
    "seresnet34": _se(_34, 21_447_416),
    "seresnet50": _se(_50, 26_039_024),
    "seresnet101": _se(_101, 47_277_872),
    "seresnet152": _se(_152, 64_772_848),
    "seresnext50_32x4d": _se(_X50, 25_510_896),
    "seresnext101_32x4d": _se(replace(_X101, width_per_group=4), 46_906_416),
    "seresnext101_32x8d": _se(_X101, 91_520_048),
    "ecaresnet50d": _eca(_50D, 23_527_350),
    "ecaresnet101d": _eca(_101D, 42_519_563),
    "cbam_resnet18": _cbam(_18, 11_264_352),
    "cbam_resnet50": _cbam(_50, 26_024_576),
    "cbam_resnet101": _cbam(_101, 47_246_628),
    "res2net50_26w_4s": replace(_R2, parameters=23_650_120),
    "res2net50_48w_2s": replace(_R2, width_per_group=48, scale=2, parameters=23_238_304),
    "res2net50_14w_8s": replace(_R2, width_per_group=14, scale=8, parameters=23_010_816),
    "res2net50_26w_6s": replace(_R2, scale=6, parameters=35_002_448),
    "res2net50_26w_8s": replace(_R2, scale=8, parameters=46_354_776),
    "res2net101_26w_4s": replace(_R2, depths=_101.depths, parameters=43_157_688),
    "resnetv2_18": _basic_v2(_18, 11_174_720),
    "resnetv2_34": _basic_v2(_34, 21_282_880),
    "resnetv2_50": _v2(_50, 23_500_352),
    "resnetv2_101": _v2(_101, 42_492_480),
    "resnetv2_152": _v2(_152, 58_136_128),
    "resnetv2_200": _v2(_200, 62_617_152),
    "resnet20_cifar": _CIFAR,
    "resnet56_cifar": _cifar(_CIFAR, 9, 852_368),
    "resnet110_cifar": _cifar(_CIFAR, 18, 1_727_312),
    "resnetv2_110_cifar": _cifar(_CIFAR_V2, 18, 1_729_872),
    "resnetv2_164_cifar": _cifar(_CIFAR_V2_NECK, 18, 1_700_688),
    "resnetv2_1001_cifar": _cifar(_CIFAR_V2_NECK, 111, 10_325_136),
    "wrn_28_10": _cifar(replace(_WRN, width=160), 4, 36_472_784),
    "wrn_40_4": _cifar(replace(_WRN, width=64), 6, 8_946_640),
    "dynamic_resnet18": _gated(_18, 11_204_096),
    "dynamic_resnet34": _gated(_34, 21_347_568),
    "dynamic_resnet50": _gated(_50, 24_505_272),
    "dynamic_resnet101": _gated(_101, 44_613_705),
}
