"""Feature pyramid: ``c2..c5`` in, ``p2..p5`` and coarser levels out, all of one width."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from backbones.choose import choose
from backbones.errors import UserError
from backbones.interface import Backbone
from backbones.layers.conv import ConvNorm, conv
from backbones.layers.norm import norm_factory
from backbones.layers.torchscript import NoTorchScript

ExtraLevels = Literal["pool", "conv", "none"]
_EXTRA: Final[dict[str, int]] = {"pool": 1, "conv": 2, "none": 0}


class FPN(NoTorchScript, nn.Module):
    """A top-down pathway with lateral connections.

    Source: Lin et al., arXiv:1612.03144, figure 3. ``extra``: ``pool`` adds p6 by subsampling p5
    (Faster R-CNN, footnote 2 there), ``conv`` p6 and p7 by strided convolutions on p5 (RetinaNet,
    arXiv:1708.02002, footnote 2; on p5 instead of c5, as torchvision and detectron2 have it),
    ``none`` nothing. State-dict names are those of torchvision's
    ``FeaturePyramidNetwork``; `levels` are the names of what is returned, finest first.

    ``channels`` are those of each input feature by name ``c{k}``, finest first. ``norm`` is a key
    of `backbones.layers.norm.NORMS`; with ``none`` the convolutions have a bias. Anything else is
    a ValueError, as are no channels at all.

    Shape:
        - Input: ``{"c{k}": (N, channels["c{k}"], H / 2**k, W / 2**k)}``.
        - Output: ``{"p{k}": (N, out_channels, H / 2**k, W / 2**k)}``, finest first.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        out_channels: int = 256,
        norm: str = "none",
        extra: ExtraLevels = "pool",
    ) -> None:
        super().__init__()
        coarsest = _coarsest(channels)
        self.channels, self._extra, self.out_channels = dict(channels), extra, out_channels
        more = range(coarsest + 1, coarsest + 1 + choose(_EXTRA, extra, what="extra levels"))
        self.levels = [name.replace("c", "p") for name in channels] + [f"p{k}" for k in more]
        normed = partial(ConvNorm, norm=norm_factory(norm), bias_without_norm=True)
        widths = channels.values()
        self.inner_blocks = nn.ModuleList(normed(width, out_channels, 1) for width in widths)
        self.layer_blocks = nn.ModuleList(normed(out_channels, out_channels, 3) for _ in channels)
        if extra == "conv":
            self.extra_blocks = nn.ModuleDict(
                {f"p{k}": conv(out_channels, out_channels, 3, stride=2, bias=True) for k in more}
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the levels, finest first."""
        top: Tensor | None = None
        maps: list[Tensor] = []
        blocks = zip(self.channels, self.inner_blocks, self.layer_blocks, strict=True)
        for name, inner, layer in reversed(list(blocks)):
            lateral: Tensor = inner(features[name])
            if top is not None:
                lateral = lateral + F.interpolate(top, size=lateral.shape[-2:], mode="nearest")
            top = lateral
            maps.append(layer(top))
        maps.reverse()
        if self._extra == "pool":
            maps.append(F.max_pool2d(maps[-1], kernel_size=1, stride=2))
        elif self._extra == "conv":
            p6: Tensor = self.extra_blocks[self.levels[-2]](maps[-1])
            maps += [p6, self.extra_blocks[self.levels[-1]](F.relu(p6))]
        return dict(zip(self.levels, maps, strict=True))


def _coarsest(channels: Mapping[str, int]) -> int:
    numbers = [int(name[1:]) if re.fullmatch(r"c\d", name) else 0 for name in channels]
    if not numbers or 0 in numbers or numbers != sorted(numbers):
        raise UserError(
            "FPN takes one or more features named c{k}, finest first, such as c2, c3, got "
            f"{list(channels)}; build_backbone(...).channels is in that order."
        )
    return numbers[-1]


class BackboneWithFPN(NoTorchScript, nn.Module):
    """A backbone and the pyramid on top of it: images (N, C, H, W) in, the levels of `FPN` out.

    A ``body`` that does not return the features that ``fpn`` was made for is a ValueError.
    torchvision's detectors read `out_channels`, the width of every level.
    """

    def __init__(self, body: Backbone, fpn: FPN) -> None:
        super().__init__()
        if not fpn.channels.items() <= body.channels.items():
            raise UserError(
                f"the FPN takes {fpn.channels}, the backbone returns {body.channels}; make it with "
                "FPN(body.channels)."
            )
        self.body = body
        self.fpn = fpn
        self.out_channels = fpn.out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the levels, finest first."""
        levels: dict[str, Tensor] = self.fpn(self.body(x))
        return levels
