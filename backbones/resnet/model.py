"""The residual network, and its pre-activation form."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.choose import choose, choose_features
from backbones.errors import UserError
from backbones.interface import Backbone
from backbones.layers.attention import ATTENTIONS
from backbones.layers.checkpoint import recomputed
from backbones.layers.conv import conv_norm
from backbones.layers.deform import CONVS
from backbones.layers.gate import GATES
from backbones.layers.hooks import ReLU
from backbones.layers.norm import norm_factory
from backbones.options import BackboneOptions
from backbones.resnet.blocks import BLOCKS, BlockParts, PreActBlock
from backbones.resnet.init import initialise
from backbones.resnet.plan import features_of, plan_stages
from backbones.resnet.stem import STEMS, DeepStem
from backbones.resnet.variants import ResNetSpec


class ResNet(Backbone):
    """A residual network that returns its feature maps by name.

    The stem's convolution is c1, the residual stages are c2 and on. Stages past the last requested
    feature are not built. ``spec`` is one of `backbones.resnet.variants.VARIANTS`.

    Shape:
        - Input: (N, in_channels, H, W); any H and W of at least 32.
        - Output: ``{"c1": (N, 64, H/2, W/2), ..., "c5": (N, C, H/32, W/32)}``, sizes rounded up;
          with the stem for CIFAR strides 1, 1, 2 and 4 for c1 to c4.

    >>> import torch
    >>> from backbones.resnet.variants import VARIANTS
    >>> features = ResNet(VARIANTS["resnet18"])(torch.zeros(1, 3, 64, 96))
    >>> [tuple(x.shape[1:]) for x in features.values()]
    [(64, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3)]
    """

    neutral: ClassVar[tuple[str, ...]] = ("*.conv_offset.*", "*.gate.*")

    def __init__(self, spec: ResNetSpec, options: BackboneOptions | None = None) -> None:
        super().__init__()
        options = options or BackboneOptions()
        wanted = choose_features(features_of(spec), options.out_features)
        block = choose(BLOCKS, spec.block, what="block")
        stem = choose(STEMS, spec.stem, what="stem")
        norm = norm_factory(options.norm)
        deformed = _deformed(spec, options)
        self.first_conv = f"conv1.{stem.first_conv}"
        self.stride_in_1x1 = None if block.expansion == 1 else spec.stride_in_1x1
        self.conv1 = stem.build(options.in_channels, spec.stem_width, norm)
        self.bn1 = norm(spec.stem_width)
        self.relu: nn.Module = ReLU()  # a module, for those who run the children one by one
        self.maxpool = stem.make_pool()
        channels, strides = {"c1": spec.stem_width}, {"c1": stem.stride}
        for k, plan in enumerate(plan_stages(spec, options, expansion=block.expansion), start=1):
            parts = BlockParts(
                spec=spec,
                norm=norm,
                conv3x3=CONVS[deformed.get(plan.feature, "plain")],
                attention=choose(ATTENTIONS, spec.attention, what="attention"),
                gate=choose(GATES, spec.gate, what="gate"),
            )
            blocks = (block(shape, parts) for shape in plan.blocks)
            self.add_module(f"layer{k}", nn.Sequential(*blocks))
            channels[plan.feature], strides[plan.feature] = plan.out_channels, plan.total_stride
        self.channels = {name: channels[name] for name in wanted}
        self.strides = {name: strides[name] for name in wanted}
        initialise(self, options.init)

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem and the residual stages that were built."""
        return [[self.conv1, self.bn1], *([layer] for layer in self._layers())]

    def set_grad_checkpointing(self, enable: bool = True) -> None:  # noqa: FBT001, FBT002 (timm's)
        """Compute trained stages twice in place of keeping their activations; see `Backbone`."""
        self.grad_checkpointing = enable

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the requested feature maps."""
        return self.forward_from({"c0": x})

    def frozen_features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the frozen stages that `forward_from` needs; see `Backbone`."""
        outputs = self._run({"c0": x}, until=self.frozen)
        needed = {f"c{self.frozen}", *self.channels}
        return {name: output for name, output in outputs.items() if name in needed}

    def forward_from(self, frozen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the requested feature maps, from what `frozen_features` returned."""
        outputs = self._run(frozen, until=len(self.stages()))
        return {name: self._leave(name, outputs[name]) for name in self.channels}

    def _run(self, outputs: Mapping[str, Tensor], *, until: int) -> dict[str, Tensor]:
        """Return the outputs so far and those of the stages after them up to ``until``."""
        outputs = dict(outputs)
        last = max(outputs)  # the coarsest
        x = outputs[last]
        once = self.frozen if self.grad_checkpointing and self.training else until
        layers: list[Callable[[Tensor], Tensor]] = [self._enter, *self._layers()]
        for k, (layer, modules) in enumerate(zip(layers, self.stages(), strict=True), start=1):
            if int(last[1:]) < k <= until:
                stage = partial(self._pooled, layer) if k == 2 else layer
                x = recomputed(stage, x, modules=modules) if k > once else stage(x)
                outputs[f"c{k}"] = x
        return outputs

    def _pooled(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return layer(self.maxpool(x))

    def _enter(self, x: Tensor) -> Tensor:
        stem, norm = self.conv1, self.bn1
        x = stem.normed(norm, x) if isinstance(stem, DeepStem) else conv_norm(stem, norm, x)
        out: Tensor = self.relu(x)
        return out

    def _leave(self, name: str, x: Tensor) -> Tensor:  # noqa: ARG002 (for PreActResNet)
        return x

    def _layers(self) -> list[nn.Module]:
        return [module for name, module in self.named_children() if name.startswith("layer")]


class PreActResNet(ResNet):
    """A pre-activation network, whose stages end with a bare sum.

    Every returned feature has a norm of its own and is rectified; that norm is frozen with its
    stage. Arguments and shapes are those of `ResNet`.

    Sources: He et al., arXiv:1603.05027; Zagoruyko and Komodakis, arXiv:1605.07146 (wide ones).
    """

    def __init__(self, spec: ResNetSpec, options: BackboneOptions | None = None) -> None:
        super().__init__(spec, options)
        norm = norm_factory((options or BackboneOptions()).norm)
        self.bn1, self.relu = nn.Identity(), nn.Identity()  # the first block does both
        self.norms = nn.ModuleDict({name: norm(width) for name, width in self.channels.items()})

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem and the residual stages, each with the norm of its feature."""
        stages = super().stages()
        for k, stage in enumerate(stages, start=1):
            if f"c{k}" in self.norms:
                stage.append(self.norms[f"c{k}"])
        return stages

    def _enter(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(x)
        return out

    def _leave(self, name: str, x: Tensor) -> Tensor:
        return F.relu(self.norms[name](x))  # not in place: the next stage reads x too


def build_resnet(spec: ResNetSpec, options: BackboneOptions) -> ResNet:
    """Build a variant; see `ResNet`."""
    is_preact = issubclass(choose(BLOCKS, spec.block, what="block"), PreActBlock)
    return (PreActResNet if is_preact else ResNet)(spec, options)


def _deformed(spec: ResNetSpec, options: BackboneOptions) -> dict[str, str]:
    versions = {1: "deformable_v1", 2: "deformable_v2"}
    if options.deformable_version not in versions:
        raise UserError(f"deformable_version takes 1 or 2, got {options.deformable_version!r}.")
    stages = dict.fromkeys(features_of(spec)[1:], versions[options.deformable_version])
    return {
        name: choose(stages, name, what="stage for deformable convolutions")
        for name in options.deformable
    }
