"""torchvision's region proposal network, with a backward pass only where its loss looks."""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)

from backbones.layers.hooks import watched
from tasks.detection.model.detector import Losses


def in_full(x: Tensor) -> Tensor:
    """Return what is decoded into boxes in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class FullRPNHead(RPNHead):  # type: ignore[misc]
    """torchvision's, with its scores and offsets in float32 under autocast too.

    torchvision decodes boxes in the precision of the offsets, and casts the true boxes to that of
    the proposals. In bfloat16 a coordinate above 256 is off by a pixel, and a narrow true box
    loses its width, which makes the loss NaN.
    """

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return of each level scores (N, A, H, W) and offsets (N, 4 * A, H, W)."""
        scores, offsets = super().forward(x)
        return [in_full(s) for s in scores], [in_full(o) for o in offsets]

    def is_plain(self) -> bool:
        """Return whether `at` does what the modules do: none is hooked, changed or replaced."""
        blocks = [list(block.children()) for block in self.conv]
        return (
            all(len(b) == 2 and _keeps_size(b[0], 3) and type(b[1]) is nn.ReLU for b in blocks)
            and all(_keeps_size(m, 1) for m in (self.cls_logits, self.bbox_pred))
            and not any(watched(m) or "forward" in vars(m) for m in self.modules())
        )

    def at(self, level: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does at some cells of a level (N, C, H, W) alone.

        ``cells`` (P, 3) are image, row and column. Returns scores (P, A) and offsets (P, A, 4) of
        their A anchors.
        """
        windows, inside = _windows(level, cells, radius=len(self.conv))
        for convolution, rectifier in self.conv:
            windows = rectifier(F.conv2d(windows, convolution.weight, convolution.bias))
            inside = inside[:, :, 1:-1, 1:-1]
            windows = windows * inside  # the padding of the next convolution is zero
        scores, offsets = self.cls_logits(windows), self.bbox_pred(windows)
        return in_full(scores.flatten(1)), in_full(offsets.reshape(*scores.shape[:2], 4))


def _keeps_size(module: nn.Module, kernel: int) -> bool:
    """Return whether a module is a plain convolution of a square kernel, padded with zeros."""
    return type(module) is nn.Conv2d and (
        module.kernel_size,
        module.stride,
        module.dilation,
        module.padding,
        module.groups,
        module.padding_mode,
    ) == ((kernel,) * 2, (1, 1), (1, 1), (kernel // 2,) * 2, 1, "zeros")


def _windows(level: Tensor, cells: Tensor, *, radius: int) -> tuple[Tensor, Tensor]:
    """Return the windows (P, C, K, K) around cells, 0 outside the map, and what is inside it."""
    _, channels, height, width = level.shape
    reach = torch.arange(-radius, radius + 1, device=cells.device)
    rows, columns = cells[:, 1, None] + reach, cells[:, 2, None] + reach  # (P, K)
    in_rows, in_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = in_rows[:, :, None] & in_columns[:, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    index = (cells[:, :1, None] * height + rows[:, :, None]) * width + columns[:, None]
    table = level.permute(0, 2, 3, 1).reshape(-1, channels)
    windows = F.embedding(index, table) * inside[..., None]  # (P, K, K, C)
    return windows.permute(0, 3, 1, 2), inside[:, None]


class SampledRPN(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's, up to three times cheaper to train.

    The loss compares at most 256 anchors of each image; everywhere else its gradient is zero. In
    training the head therefore runs over the maps without gradients, for the proposals, and again
    on windows around the cells of these anchors, unless the maps have fewer cells than the windows
    or a module of the head is not plain torch. Losses and gradients equal torchvision's up to
    rounding, and no activation of the head is kept.

    Under autocast this relies on torch to cast a weight anew for the pass with gradients, as it
    does since PyTorch's pull request 165068; ``test_rpn.py`` checks it.
    """

    @classmethod
    def of(cls, rpn: RegionProposalNetwork) -> Self:
        """Return one with the head and settings of torchvision's."""
        matcher, sampler = rpn.proposal_matcher, rpn.fg_bg_sampler
        return cls(
            rpn.anchor_generator,
            rpn.head,
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            rpn._pre_nms_top_n,
            rpn._post_nms_top_n,
            rpn.nms_thresh,
            rpn.score_thresh,
        )

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[Tensor], Losses]:
        """Return the proposals (B, 4) of each image and, in training, the losses by name."""
        levels = list(features.values())
        plain = isinstance(self.head, FullRPNHead) and self.head.is_plain()
        if not (self.training and targets and plain and self._windows_are_fewer(levels)):
            result: tuple[list[Tensor], Losses] = super().forward(images, features, targets)
            return result
        with torch.no_grad():
            scores, offsets = self.head(levels)
            anchors = self.anchor_generator(images, levels)
            counts = [math.prod(score[0].shape) for score in scores]
            scores, offsets = concat_box_prediction_layers(scores, offsets)
            boxes = self.box_coder.decode(offsets, anchors).view(len(anchors), -1, 4)
            boxes, _ = self.filter_proposals(boxes, scores, images.image_sizes, counts)
            labels, matched = self.assign_targets_to_anchors(anchors, targets)
            wanted = self.box_coder.encode(matched, anchors)
        return boxes, self._losses(levels, labels, wanted)

    def _windows_are_fewer(self, levels: list[Tensor]) -> bool:
        """Return whether the windows have fewer cells than the maps."""
        side = 2 * len(self.head.conv) + 1
        windows: int = len(levels[0]) * self.fg_bg_sampler.batch_size_per_image * side**2
        return windows < sum(len(level) * level.shape[2] * level.shape[3] for level in levels)

    def _losses(self, levels: list[Tensor], labels: list[Tensor], wanted: list[Tensor]) -> Losses:
        """Return torchvision's losses; ``labels`` (A,) and ``wanted`` (A, 4) of each image."""
        positive, negative = (
            torch.where(torch.cat(sampled))[0] for sampled in self.fg_bg_sampler(labels)
        )
        sampled = torch.cat([positive, negative])
        scores, offsets = self._at(levels, sampled)
        boxes = F.smooth_l1_loss(
            offsets[: len(positive)], torch.cat(wanted)[positive], beta=1 / 9, reduction="sum"
        )
        objectness = F.binary_cross_entropy_with_logits(scores, torch.cat(labels)[sampled])
        return {"loss_objectness": objectness, "loss_rpn_box_reg": boxes / len(sampled)}

    def _at(self, levels: list[Tensor], anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (S,) and offsets (S, 4) of anchors (S,), counted by image, level, cell."""
        each = self.head.cls_logits.out_channels  # anchors of a cell
        counts = [level.shape[2] * level.shape[3] * each for level in levels]
        image, anchor = anchors // sum(counts), anchors % sum(counts)
        scores, offsets, order, start = [], [], [], 0
        for level, count in zip(levels, counts, strict=True):
            chosen = torch.where((anchor >= start) & (anchor < start + count))[0]
            cell, which = (anchor[chosen] - start) // each, (anchor[chosen] - start) % each
            width = level.shape[3]
            cells = torch.stack([image[chosen], cell // width, cell % width], dim=1)
            score, offset = self.head.at(level, cells)
            rows = torch.arange(len(chosen), device=which.device)
            scores.append(score[rows, which])
            offsets.append(offset[rows, which])
            order.append(chosen)
            start += count
        restored = torch.cat(order).argsort()
        return torch.cat(scores)[restored], torch.cat(offsets)[restored]
