"""A U-Net on any of our backbones, with deep supervision and any norm in its decoder."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones import Backbone
from backbones.errors import UserError
from backbones.layers.checkpoint import recomputed
from backbones.layers.conv import ConvNorm, folded_weights, is_plain
from backbones.layers.hooks import watched
from backbones.layers.norm import NormFactory, norm_factory
from backbones.layers.torchscript import NoTorchScript
from tasks.segmentation.model.attention import ATTENTION
from tasks.segmentation.model.upsampled import convolve_upsampled
from tasks.segmentation.options import WIDTHS, UNetOptions

_HEADS: Final = "deep_heads."


UPSAMPLING: Final[dict[str, Callable[[int, int], nn.Module]]] = {
    "nearest": lambda _, factor: nn.Upsample(scale_factor=factor, mode="nearest"),
    "bilinear": lambda _, factor: nn.Upsample(scale_factor=factor, mode="bilinear"),
    "transposed": lambda channels, factor: nn.ConvTranspose2d(
        channels, channels, factor, stride=factor
    ),
}
"""By channels and factor."""


class DecoderBlock(NoTorchScript, nn.Module):
    """Upsample by ``factor``, join with the skip connection if there is one, and convolve twice."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        *,
        out_channels: int,
        factor: int,
        norm: NormFactory,
        options: UNetOptions,
    ) -> None:
        super().__init__()
        attention = ATTENTION[options.attention]
        joined = in_channels + skip_channels
        self.factor = factor
        self.upsample = UPSAMPLING[options.upsampling](in_channels, factor)
        self.attention1 = attention(joined) if skip_channels else nn.Identity()
        self.conv1 = ConvNorm(joined, out_channels, 3, norm=norm)
        self.conv2 = ConvNorm(out_channels, out_channels, 3, norm=norm)
        self.attention2 = attention(out_channels)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return the finer map."""
        convolution, norm = cast("nn.Conv2d", self.conv1[0]), self.conv1[1]
        if self._is_plain() and is_plain(convolution, x) and _is_run_on_cpu(x):
            folded = folded_weights(convolution, norm)
            x = convolve_upsampled(x, skip, *(folded or (convolution.weight, convolution.bias)))
            x = norm(x) if folded is None else x
        else:
            x = self.upsample(x)
            if skip is not None:
                x = self.attention1(torch.cat([x, skip], dim=1))
            x = self.conv1(x)
        x = F.relu(x, inplace=not watched(self.conv1))
        x = F.relu(self.conv2(x), inplace=not watched(self.conv2))
        out: Tensor = self.attention2(x)
        return out

    def _is_plain(self) -> bool:
        """Return whether upsampling and joining do no more than repeat and join."""
        up = self.upsample
        repeats = isinstance(up, nn.Upsample) and (up.mode, up.scale_factor) == ("nearest", 2)
        own = up, self.attention1, self.conv1, self.conv1[1]
        return (
            repeats
            and isinstance(self.attention1, nn.Identity)
            and not any(watched(module) or "forward" in vars(module) for module in own)
        )


def _is_run_on_cpu(x: Tensor) -> bool:
    """Return whether operators run now on a CPU, rather than being captured as a graph."""
    captured = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    return x.device.type == "cpu" and not captured


class ResNetUNet(NoTorchScript, nn.Module):
    """A U-Net whose encoder is a backbone of ours (Ronneberger et al., arXiv:1505.04597).

    Images of any size are padded by their edge to a multiple of the coarsest stride, and the result
    is cropped. With deep supervision training returns the logits of every level of the decoder,
    finest first; otherwise, and always in eval mode, the result is one tensor. Weights trained with
    deep supervision load without it and the other way round.

    Names in the state dict are those of ``segmentation_models_pytorch.Unet``, with ``backbone.``
    for its ``encoder.``; with nearest upsampling and no ``image_skip`` so is the function.

    Shape:
        - Input: (N, in_channels, H, W), any H and W.
        - Output: (N, num_classes, H, W); in training with deep supervision a tuple of (N,
          num_classes, H / s, W / s), sizes rounded up, for s = 1 and every stride but the coarsest.
    """

    def __init__(
        self, backbone: Backbone, *, num_classes: int, in_channels: int, options: UNetOptions
    ) -> None:
        super().__init__()
        strides = [1, *backbone.strides.values()]
        channels = _decoder_widths(options, backbone)
        self.backbone = backbone
        self.multiple = strides[-1]
        skips = [in_channels if options.image_skip else 0, *backbone.channels.values()]
        widths = [skips[-1], *channels]
        norm = norm_factory(options.norm)
        blocks = [
            DecoderBlock(
                widths[i],
                skips[-2 - i],
                out_channels=widths[i + 1],
                factor=strides[-1 - i] // strides[-2 - i],
                norm=norm,
                options=options,
            )
            for i in range(len(channels))
        ]
        self.image_skip = options.image_skip
        self.grad_checkpointing = False
        self.decoder = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        # smp's head is a Sequential too, whose first entry is the convolution.
        self.segmentation_head = nn.Sequential(nn.Conv2d(widths[-1], num_classes, 3, padding=1))
        coarser = channels[:-1] if options.deep_supervision else ()
        self.deep_heads = nn.ModuleList(nn.Conv2d(c, num_classes, 1) for c in coarser)
        # Instance norm has nothing to normalise in a map of one pixel: its result is a constant.
        instance = any(isinstance(module, nn.InstanceNorm2d) for module in self.modules())
        self.smallest = self.multiple * (2 if instance else 1)
        _initialise(self.decoder, partial(nn.init.kaiming_uniform_, nonlinearity="relu"))
        _initialise(self.segmentation_head, nn.init.xavier_uniform_)
        _initialise(self.deep_heads, nn.init.xavier_uniform_)
        self.register_load_state_dict_pre_hook(_any_heads)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits; in training with deep supervision those of every level."""
        height, width = x.shape[-2:]
        x = self.padded(x)
        return self.decode({"c0": x, **self.backbone(x)}, size=(height, width))

    def set_grad_checkpointing(self, enable: bool = True) -> None:  # noqa: FBT001, FBT002 (timm's)
        """Compute trained stages and the decoder's blocks twice; see `Backbone`."""
        self.backbone.set_grad_checkpointing(enable)
        self.grad_checkpointing = enable

    def padded(self, x: Tensor) -> Tensor:
        """Return an image with its lower and right edge repeated up to a multiple of the stride."""
        return _padded(x, multiple=self.multiple, smallest=self.smallest)

    def decode(
        self, features: Mapping[str, Tensor], *, size: tuple[int, int]
    ) -> Tensor | tuple[Tensor, ...]:
        """Return what `forward` does, from the features of the padded image.

        ``"c0"`` is the image itself, needed for a skip from it; ``size`` is that before padding.
        """
        height, width = size
        skips = [features["c0"] if self.image_skip else None]
        skips += [features[name] for name in self.backbone.channels]
        levels = [cast("Tensor", skips.pop())]
        full = self.multiple * levels[0].shape[-2]
        for block in cast("nn.ModuleList", self.decoder["blocks"]):
            inputs = levels[-1], skips.pop()
            twice = self.grad_checkpointing and self.training
            try:
                level = recomputed(block, *inputs, modules=[block]) if twice else block(*inputs)
            except RuntimeError as error:
                _refuse_maps(block, *inputs, error)
                raise
            levels.append(level)
        logits: Tensor = self.segmentation_head(levels[-1])[..., :height, :width]
        if not (self.training and len(self.deep_heads)):
            return logits
        coarser = [head(level) for head, level in zip(self.deep_heads, levels[1:-1], strict=True)]
        cropped = []
        for level in reversed(coarser):
            step = full // level.shape[-2]
            cropped.append(level[..., : -(-height // step), : -(-width // step)])
        return logits, *cropped


def _refuse_maps(block: Any, x: Tensor, skip: Tensor | None, error: Exception) -> None:  # noqa: ANN401
    """Raise an error that names the backbone's fault if a map has not the size of its stride."""
    if skip is None or [block.factor * s for s in x.shape[-2:]] == [*skip.shape[-2:]]:
        return
    rows, columns = (block.factor * side for side in x.shape[-2:])
    raise UserError(
        f"the backbone gives a map of {skip.shape[-2]} x {skip.shape[-1]} where the U-Net joins "
        f"one of {rows} x {columns}: its convolutions are not padded to keep the size. Take "
        "another backbone; a detector takes this one."
    ) from error


def _initialise(part: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    """Draw the weights of all convolutions, as smp does: He's in a decoder, Glorot's in a head."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _decoder_widths(options: UNetOptions, backbone: Backbone) -> tuple[int, ...]:
    """Return one width per feature of the backbone, coarsest first."""
    count = len(backbone.strides)
    if options.channels == WIDTHS:
        return (WIDTHS[0],) * (count - len(WIDTHS)) + WIDTHS[-count:]
    if len(options.channels) != count:
        raise UserError(
            f"model.channels has {len(options.channels)} widths; expected one per feature of the "
            f"backbone: {', '.join(backbone.strides)}."
        )
    return options.channels


@torch.fx.wrap  # one node in a graph of torch.fx, which cannot follow what depends on a size
def _padded(x: Tensor, *, multiple: int, smallest: int) -> Tensor:
    down, right = (_more(side, multiple=multiple, smallest=smallest) for side in x.shape[-2:])
    traced = isinstance(down, Tensor)  # a trace is for every size
    return F.pad(x, (0, right, 0, down), mode="replicate") if traced or down or right else x


def _more(side: int | Tensor, *, multiple: int, smallest: int) -> int:
    wanted = (side + multiple - 1) // multiple * multiple  # ONNX rounds a negative quotient up
    if isinstance(wanted, Tensor):  # what a size is while torch.jit.trace runs
        return cast("int", wanted.clamp(min=smallest) - side)
    return max(wanted, smallest) - cast("int", side)


def _any_heads(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Let a state dict be loaded that has other deep-supervision heads, or none."""
    own: Mapping[str, Any] = module.get_submodule("deep_heads").state_dict(prefix=prefix + _HEADS)
    for key in [key for key in state if key.startswith(prefix + _HEADS) and key not in own]:
        del state[key]
    state.update({key: value for key, value in own.items() if key not in state})
