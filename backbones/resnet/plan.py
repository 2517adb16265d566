"""The stages to build, from a variant and the options."""

from collections.abc import Sequence
from dataclasses import dataclass

from backbones.choose import choose
from backbones.errors import UserError
from backbones.options import BackboneOptions
from backbones.resnet.stem import STEMS
from backbones.resnet.variants import ResNetSpec


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One residual stage."""

    feature: str
    in_channels: int
    channels: int  # nominal width of its blocks
    out_channels: int
    stride: int
    dilations: tuple[int, int]  # of the first block's first 3x3 convolution, of all others
    total_stride: int  # stride of its output, against the image
    drop_path: tuple[float, ...]  # of each block: how likely its residual is dropped


def features_of(spec: ResNetSpec) -> list[str]:
    """Return the names of a variant's feature maps, finest first."""
    return [f"c{k}" for k in range(1, len(spec.depths) + 2)]


def in_order(spec: ResNetSpec, names: Sequence[str] | None) -> list[str]:
    """Return the requested feature names, finest first; all of them when None."""
    known = features_of(spec)
    if names is None:
        return known
    for name in names:
        choose(dict.fromkeys(known), name, what="feature")
    if not names or len(set(names)) != len(names):
        raise UserError(
            f"out_features takes one or more of {', '.join(known)}, each once, got {list(names)}."
        )
    return sorted(names)


def plan_stages(spec: ResNetSpec, options: BackboneOptions, *, expansion: int) -> list[StagePlan]:
    """Return the stages up to the coarsest wanted feature; the others are not built.

    The drop rate of stochastic depth grows linearly from 0 at the first block of the whole variant
    to ``options.drop_path`` at the last (Huang et al., arXiv:1603.09382, equation 4, counted as in
    timm).
    """
    last = in_order(spec, options.out_features)[-1]
    output_stride, drop_path = options.output_stride, options.drop_path
    _check(spec, output_stride, drop_path)
    base = stride = _base_stride(spec)
    rates = [drop_path * i / max(1, sum(spec.depths) - 1) for i in range(sum(spec.depths))]
    plans: list[StagePlan] = []
    width, before = spec.stem_width, 1
    for k, depth in enumerate(spec.depths[: int(last[1:]) - 1]):
        step = 2 if k > 0 and stride < output_stride else 1
        stride *= step
        # A stage that does not stride dilates by 2 instead; its first block still has the
        # dilation of the stage before, as in torchvision.
        dilation = base * 2**k // stride
        plans.append(
            StagePlan(
                feature=f"c{k + 2}",
                in_channels=width,
                channels=spec.width * 2**k,
                out_channels=spec.width * 2**k * expansion,
                stride=step,
                dilations=(before, dilation),
                total_stride=stride,
                drop_path=tuple(rates[sum(spec.depths[:k]) :][:depth]),
            )
        )
        width, before = plans[-1].out_channels, dilation
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
