"""The stages to build, from a variant and the options."""

from dataclasses import dataclass, replace

from backbones.choose import choose, choose_features
from backbones.errors import UserError
from backbones.options import BackboneOptions
from backbones.resnet.blocks import BlockShape
from backbones.resnet.stem import STEMS
from backbones.resnet.variants import ResNetSpec


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One residual stage."""

    feature: str
    out_channels: int
    total_stride: int  # stride of its output, against the image
    blocks: tuple[BlockShape, ...]


def features_of(spec: ResNetSpec) -> list[str]:
    """Return the names of a variant's feature maps, finest first."""
    return [f"c{k}" for k in range(1, len(spec.depths) + 2)]


def plan_stages(spec: ResNetSpec, options: BackboneOptions, *, expansion: int) -> list[StagePlan]:
    """Return the stages up to the coarsest wanted feature; the others are not built.

    The drop rate of stochastic depth grows linearly from 0 at the first block of the whole variant
    to ``options.drop_path`` at the last (Huang et al., arXiv:1603.09382, equation 4, counted as in
    timm).
    """
    last = choose_features(features_of(spec), options.out_features)[-1]
    output_stride, drop_path = options.output_stride, options.drop_path
    _check(spec, output_stride, drop_path)
    base = stride = _base_stride(spec)
    count = sum(spec.depths)
    rates = iter([drop_path * i / max(1, count - 1) for i in range(count)])
    plans: list[StagePlan] = []
    width, before = spec.stem_width, 1
    for k, depth in enumerate(spec.depths[: int(last[1:]) - 1]):
        step = 2 if k > 0 and stride < output_stride else 1
        stride *= step
        # A stage that does not stride dilates by 2 instead; its first block still has the
        # dilation of the stage before, as in torchvision.
        dilation, channels = base * 2**k // stride, spec.width * 2**k
        first = BlockShape(
            in_channels=width, channels=channels, stride=step, dilations=(before, dilation)
        )
        width, before = channels * expansion, dilation
        other = BlockShape(in_channels=width, channels=channels, dilations=(dilation, dilation))
        shapes = [first] + [other] * (depth - 1)
        blocks = tuple(replace(shape, drop_path=next(rates)) for shape in shapes)
        plans.append(
            StagePlan(feature=f"c{k + 2}", out_channels=width, total_stride=stride, blocks=blocks)
        )
    return plans


def _base_stride(spec: ResNetSpec) -> int:
    """Return the stride of the first stage's input, against the image."""
    stem = choose(STEMS, spec.stem, what="stem")
    return stem.stride * (2 if stem.pool else 1)


def _check(spec: ResNetSpec, output_stride: int, drop_path: float) -> None:
    coarsest = _base_stride(spec) * 2 ** (len(spec.depths) - 1)
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride takes 8, 16 or 32, got {output_stride}.")
    if output_stride != 32 and coarsest < output_stride * 2:
        raise UserError(
            f"output_stride={output_stride} has nothing to dilate: the coarsest stride of this "
            f"backbone is {coarsest}. Leave it out."
        )
    if not 0 <= drop_path < 1:
        raise UserError(f"drop_path takes a probability from 0 to below 1, got {drop_path!r}.")
