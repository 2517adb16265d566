"""The residual network."""

from collections.abc import Sequence
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.choose import choose
from backbones.interface import Backbone
from backbones.layers.conv import conv, conv_norm
from backbones.layers.norm import norm_factory
from backbones.resnet.blocks import BasicBlock, BlockParts, Bottleneck
from backbones.resnet.variants import ResNetSpec

_BLOCKS: Final[dict[str, type[BasicBlock | Bottleneck]]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}
FEATURES: Final = ("c1", "c2", "c3", "c4", "c5")


class ResNet(Backbone):
    """A residual network that returns its feature maps by name.

    The stem's convolution is c1, the four residual stages are c2 to c5. Stages past the last
    requested feature are not built.

    Args:
        spec: Which variant to build; see `backbones.resnet.variants.VARIANTS`.
        norm: A key of `backbones.layers.norm.NORMS`.
        in_channels: Channels of the image.
        out_features: Which feature maps to return; all five when None.
        output_stride: 32, or 16 or 8 to dilate the last one or two stages instead of striding.

    Shape:
        - Input: (N, in_channels, H, W); any H and W of at least 32.
        - Output: ``{"c1": (N, 64, H/2, W/2), ..., "c5": (N, C, H/32, W/32)}``, sizes rounded up.

    Raises:
        ValueError: If a name in ``out_features`` is unknown or repeated, if there is none, or if
            ``output_stride`` is not 8, 16 or 32.

    Example:
        >>> import torch
        >>> from backbones.resnet.variants import VARIANTS
        >>> features = ResNet(VARIANTS["resnet18"])(torch.zeros(1, 3, 64, 96))
        >>> [tuple(x.shape[1:]) for x in features.values()]
        [(64, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3)]
    """

    def __init__(
        self,
        spec: ResNetSpec,
        *,
        norm: str = "batch",
        in_channels: int = 3,
        out_features: Sequence[str] | None = None,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride takes 8, 16 or 32, got {output_stride}.")
        wanted = _in_order(out_features)
        make_norm = norm_factory(norm)
        parts = BlockParts(norm=make_norm, groups=spec.groups, width_per_group=spec.width_per_group)
        self.conv1 = conv(in_channels, 64, 7, stride=2)
        self.bn1 = make_norm(64)
        channels, strides = {"c1": 64}, {"c1": 2}
        width, stride = 64, 4
        for k in range(1, FEATURES.index(wanted[-1]) + 1):
            step = 2 if k > 1 and stride < output_stride else 1
            stride *= step
            # A stage that keeps its resolution dilates by what it does not stride; its first block
            # still has the dilation of the stage before, as in torchvision.
            dilation = 2 ** (k + 1) // stride
            before = dilation if step == 2 or k == 1 else dilation // 2
            stage = _stage(
                spec, k, in_channels=width, parts=parts, dilations=(before, dilation), stride=step
            )
            self.add_module(f"layer{k}", stage)
            width = channels[f"c{k + 1}"] = 64 * 2 ** (k - 1) * _BLOCKS[spec.block].expansion
            strides[f"c{k + 1}"] = stride
        self.channels = {name: channels[name] for name in wanted}
        self.strides = {name: strides[name] for name in wanted}
        self._initialise()

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem and the residual stages that were built."""
        return [[self.conv1, self.bn1], *([layer] for layer in self._layers())]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the requested feature maps."""
        x = F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True)
        features = {"c1": x}
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for k, layer in enumerate(self._layers(), start=2):
            x = features[f"c{k}"] = layer(x)
        return {name: features[name] for name in self.channels}

    def _initialise(self) -> None:
        """Draw the convolutions, and start every residual block as its shortcut alone.

        Sources: He et al., arXiv:1502.01852, equation 14; Goyal et al., arXiv:1706.02677, section
        5.1, which sets the scale of each block's last norm to 0.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                scale = getattr(module.last_norm, "weight", None)
                if isinstance(scale, nn.Parameter):  # a frozen norm could not leave 0 again
                    nn.init.zeros_(scale)

    def _layers(self) -> list[nn.Module]:
        return [module for name, module in self.named_children() if name.startswith("layer")]


def _in_order(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(FEATURES)
    for name in names:
        choose(dict.fromkeys(FEATURES, name), name, what="feature")
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"out_features takes one or more of {', '.join(FEATURES)}, each once, "
            f"got {list(names)}."
        )
    return sorted(names)


def _stage(
    spec: ResNetSpec,
    k: int,
    *,
    in_channels: int,
    parts: BlockParts,
    stride: int,
    dilations: tuple[int, int],
) -> nn.Sequential:
    """Build the k-th residual stage; ``dilations`` are those of its first block and of the rest."""
    block, channels = _BLOCKS[spec.block], 64 * 2 ** (k - 1)
    first = block(in_channels, channels, parts=parts, stride=stride, dilation=dilations[0])
    width = channels * block.expansion
    rest = (
        block(width, channels, parts=parts, dilation=dilations[1])
        for _ in range(1, spec.depths[k - 1])
    )
    return nn.Sequential(first, *rest)
