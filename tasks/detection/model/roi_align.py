"""RoIAlign over a pyramid, on a CPU as one sparse product.

torchvision's CPU kernel runs on one thread, and is slow in its backward pass. Bilinear sampling is
linear in the features, so RoIAlign is a sparse matrix times the table of feature vectors, which
``embedding_bag`` computes on contiguous rows and on all threads.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from backbones.errors import UserError
from backbones.layers.torchscript import NoTorchScript

_CANONICAL_SIZE: Final = 224.0
_CANONICAL_LEVEL: Final = 4


class PyramidRoIAlign(NoTorchScript, MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's ``MultiScaleRoIAlign``, several times faster on a CPU.

    A RoI of area ``s**2`` pools from level ``floor(4 + log2(s / 224))`` (Lin et al.,
    arXiv:1612.03144, equation 1), bin values are means of bilinear samples (He et al.,
    arXiv:1703.06870, section 3), coordinates are not shifted by half a pixel (``aligned=False``).
    On a GPU, and in a graph that is traced or exported, torchvision's operator does the sampling.

    The result equals torchvision's, with two exceptions: ``strides``, powers of 2, say each level's
    scale, which torchvision guesses from its first batch and gets wrong for long thin images; and
    boxes of less than float32 are pooled in float32.

    Shape:
        - Input: ``{level: (N, C, H, W)}``, finest first, a list of N boxes (R, 4) in pixels of the
          padded batch, and the images' sizes, which are not needed.
        - Output: (sum of R, C, output_size, output_size).
    """

    def __init__(
        self,
        featmap_names: list[str],
        output_size: int,
        *,
        strides: Sequence[int],
        sampling_ratio: int = 2,
    ) -> None:
        super().__init__(featmap_names, output_size, sampling_ratio)
        if len(strides) != len(featmap_names) or any(s < 1 or s & (s - 1) for s in strides):
            raise UserError(
                f"strides takes one power of 2 per level ({', '.join(featmap_names)}), got "
                f"{list(strides)}."
            )
        self.exponents = [stride.bit_length() - 1 for stride in strides]

    def forward(
        self,
        x: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],  # noqa: ARG002 (torchvision's signature)
    ) -> Tensor:
        """Return the pooled features, image by image."""
        levels = [x[name] for name in self.featmap_names]
        grid = (self.output_size[0], self.sampling_ratio)
        return _pyramid_roi_align(levels, boxes, self.exponents, grid)


_Grid = tuple[int, int]  # bins per side, and samples per bin and side


@torch.fx.wrap  # one node in a graph of torch.fx, as torchvision's pooler is
def _pyramid_roi_align(
    levels: list[Tensor], boxes: list[Tensor], exponents: list[int], grid: _Grid
) -> Tensor:
    rois = torch.cat(boxes)  # (R, 4)
    rois = rois.to(torch.promote_types(rois.dtype, torch.float32))
    size = (rois[:, 2:] - rois[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    wanted = (_CANONICAL_LEVEL + (size / _CANONICAL_SIZE).log2() + 1e-6).floor()
    chosen = wanted.clamp(exponents[0], exponents[-1]).long() - exponents[0]  # (R,), of levels
    captured = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    with torch.autocast(levels[0].device.type, enabled=False):
        if captured or levels[0].device.type != "cpu":
            images = [torch.full_like(b[:, :1], k, dtype=rois.dtype) for k, b in enumerate(boxes)]
            rois = torch.cat([torch.cat(images), rois], dim=1)
            return _operator(levels, rois, chosen, exponents, grid)
        scale = torch.tensor([0.5**exponent for exponent in exponents], dtype=rois.dtype)
        counts = [len(b) for b in boxes]
        scaled = torch.split(rois * scale[chosen][:, None], counts)
        maps = zip(*(level.permute(0, 2, 3, 1).unbind() for level in levels), strict=True)
        each = zip(maps, scaled, torch.split(chosen, counts), strict=True)
        # One image at a time: its float32 copies go before the next one's are made. In the layout
        # in which linear layers take them: channels_last would be copied, and kept meanwhile.
        return torch.cat([_pool(*image, grid).contiguous() for image in each])


def _operator(
    levels: list[Tensor], rois: Tensor, chosen: Tensor, exponents: list[int], grid: _Grid
) -> Tensor:
    """Pool RoIs (R, 5), image and xyxy, by torchvision's operator from the levels (R,) chosen."""
    full = torch.promote_types(levels[0].dtype, torch.float32)
    pooled, order = [], []
    for index, (level, exponent) in enumerate(zip(levels, exponents, strict=True)):
        order.append(torch.where(chosen == index)[0])
        pooled.append(
            roi_align(
                level.to(full),
                rois[order[-1]].to(full),
                output_size=grid[0],
                spatial_scale=0.5**exponent,
                sampling_ratio=grid[1],
            )
        )
    restored = torch.cat(pooled)[torch.cat(order).argsort()]
    return restored.to(levels[0].dtype)


def _pool(levels: Sequence[Tensor], rois: Tensor, chosen: Tensor, grid: _Grid) -> Tensor:
    """Pool RoIs (R, 4), xyxy in pixels of their level, from levels (H, W, C), those (R,) chosen."""
    channels, bins = levels[0].shape[-1], grid[0]
    full = torch.promote_types(levels[0].dtype, torch.float32)
    # Rounded features go through memory as they are, and become float32 once.
    table = torch.cat([level.reshape(-1, channels) for level in levels]).to(full)
    heights = torch.tensor([level.shape[0] for level in levels])[chosen]
    widths = torch.tensor([level.shape[1] for level in levels])[chosen]
    starts = torch.tensor([0] + [level.numel() // channels for level in levels]).cumsum(0)[chosen]
    rows, row_weights = _taps(rois[:, 1], rois[:, 3], heights, grid)
    columns, column_weights = _taps(rois[:, 0], rois[:, 2], widths, grid)
    cells = rows[:, :, None, :, None] * widths[:, None, None, None, None]
    index = starts[:, None, None, None, None] + cells + columns[:, None, :, None, :]
    weight = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    pooled = F.embedding_bag(
        index.flatten(0, 2).flatten(1),  # (R, bins, bins, taps, taps) until here
        table,
        mode="sum",
        per_sample_weights=weight.flatten(0, 2).flatten(1).to(full),
    )  # (R * bins * bins, C)
    pooled = pooled.to(levels[0].dtype)  # as torchvision does
    return pooled.view(-1, bins, bins, channels).permute(0, 3, 1, 2)


def _taps(low: Tensor, high: Tensor, size: Tensor, grid: _Grid) -> tuple[Tensor, Tensor]:
    """Return which cells each bin reads along one axis, and with which weights.

    RoIs reach from ``low`` (R,) to ``high`` (R,) on an axis of ``size`` (R,) cells. Indices and
    weights are (R, bins, 2 * samples): two neighbours per sample.
    """
    bins, samples = grid
    length = (high - low).clamp(min=1)  # as in torchvision: at least one cell
    shares = (torch.arange(bins * samples, dtype=low.dtype) + 0.5) / (bins * samples)
    at = low[:, None] + shares * length[:, None]  # (R, bins * samples)
    last = (size - 1)[:, None]
    inside = (at >= -1) & (at <= size[:, None])  # samples further out count as 0
    at = at.clamp(min=0)
    left = torch.minimum(at.floor().long(), last)
    right = torch.minimum(left + 1, last)
    share = torch.where(left == last, 0.0, at - left)
    index = torch.stack([left, right], dim=-1)
    weight = torch.stack([1 - share, share], dim=-1) * inside[..., None] / samples
    shape = (low.shape[0], bins, 2 * samples)
    return index.reshape(shape), weight.reshape(shape)
