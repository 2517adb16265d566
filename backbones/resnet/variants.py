"""Every built-in variant, one line each."""

from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """What makes one ResNet variant differ from another.

    Attributes:
        block: Which residual block the four stages are made of.
        depths: Blocks per stage, from stride 4 to stride 32.
        groups: Groups of the 3x3 convolution (ResNeXt's cardinality).
        width_per_group: Channels per group in the first stage.
        parameters: Parameters of the published model without its classifier; a test checks it.
        source: Where ``parameters`` and the design come from.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64
    parameters: int
    source: str = "arXiv:1512.03385, table 1"


_18 = ResNetSpec(block="basic", depths=(2, 2, 2, 2), parameters=11_176_512)
_34 = replace(_18, depths=(3, 4, 6, 3), parameters=21_284_672)
_50 = ResNetSpec(block="bottleneck", depths=(3, 4, 6, 3), parameters=23_508_032)
_101 = replace(_50, depths=(3, 4, 23, 3), parameters=42_500_160)
_152 = replace(_50, depths=(3, 8, 36, 3), parameters=58_143_808)
_X50 = replace(_50, groups=32, width_per_group=4, source="arXiv:1611.05431, table 1")
_X101 = replace(_101, groups=32, width_per_group=8, source="arXiv:1611.05431, table 1")
_W = "arXiv:1605.07146, section 3"

VARIANTS: Final[dict[str, ResNetSpec]] = {
    "resnet18": _18,
    "resnet34": _34,
    "resnet50": _50,
    "resnet101": _101,
    "resnet152": _152,
    "resnext50_32x4d": replace(_X50, parameters=22_979_904),
    "resnext101_32x8d": replace(_X101, parameters=86_742_336),
    "resnext101_64x4d": replace(_X101, groups=64, width_per_group=4, parameters=81_406_272),
    "wide_resnet50_2": replace(_50, width_per_group=128, parameters=66_834_240, source=_W),
    "wide_resnet101_2": replace(_101, width_per_group=128, parameters=124_837_696, source=_W),
}
