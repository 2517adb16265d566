"""torchvision's Faster R-CNN around any of our backbones."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import nms

from backbones import FPN, Backbone, BackboneWithFPN
from backbones.choose import choose
from backbones.errors import UserError
from tasks.detection.model.detector import Detector, Losses, Proposals
from tasks.detection.model.roi_align import PyramidRoIAlign
from tasks.detection.model.rpn import FullRPNHead, SampledRPN, in_full
from tasks.detection.options import DetectorOptions

_ASPECT_RATIOS: Final = (0.5, 1.0, 2.0)
_ROI_SIZE: Final = 7
FEATURES: Final = ["c2", "c3", "c4", "c5"]  # the features that a pyramid can be built on

# RoIs are assigned to levels by their size, which takes a pyramid without gaps.
_NEIGHBOURS: Final = [FEATURES[i:j] for i in range(4) for j in range(i + 1, 5)]


class _FullPredictor(FastRCNNPredictor):  # type: ignore[misc]
    """torchvision's, with its scores and offsets in float32, as in `FullRPNHead`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, offsets = super().forward(x)
        return in_full(scores), in_full(offsets)


def _across_classes(
    most: int, heads: RoIHeads, _: object, outputs: tuple[list[dict[str, Tensor]], Losses]
) -> tuple[list[dict[str, Tensor]], Losses]:
    """Keep at most ``most`` detections of each image, of which no two overlap, whatever class."""
    found, losses = outputs
    kept = [nms(one["boxes"], one["scores"], heads.nms_thresh)[:most] for one in found]
    pairs = zip(found, kept, strict=True)
    return [{name: one[name][keep] for name in one} for one, keep in pairs], losses


class _Detector(FasterRCNN, Detector):  # type: ignore[misc]
    """torchvision's detector with label smoothing, which it has no option for."""

    rpn: Any
    roi_heads: Any

    def losses_of(
        self, levels: dict[str, Tensor], images: ImageList, targets: list[dict[str, Any]]
    ) -> Losses:
        """See `Detector`."""
        proposals, of_proposals = self.rpn(images, levels, targets)
        _, of_heads = self.roi_heads(levels, proposals, images.image_sizes, targets)
        return {**of_heads, **of_proposals}

    def suppress_across_classes(self) -> None:
        """Compare all detections of an image, where torchvision compares those of one class."""
        most = self.roi_heads.detections_per_img
        self.roi_heads.detections_per_img = sys.maxsize  # the limit comes after the suppression
        self.roi_heads.register_forward_hook(partial(_across_classes, most))

    @contextmanager
    def smoothed_classes(self, smoothing: float) -> Iterator[Callable[[Losses], Losses]]:
        """See `Detector`.

        Cross entropy is linear in its target: with labels smoothed by ``e`` it is ``1 - e`` times
        that of the labels and ``e`` times that of the uniform distribution over the K + 1 classes
        (Szegedy et al., arXiv:1512.00567, section 7).
        """
        logits: list[Tensor] = []

        def smooth(losses: Losses) -> Losses:
            if not smoothing:
                return losses
            uniform = -logits[-1].log_softmax(dim=1).mean()
            mixed = (1 - smoothing) * losses["loss_classifier"] + smoothing * uniform
            return losses | {"loss_classifier": mixed}

        handle = self.roi_heads.box_predictor.register_forward_hook(
            lambda _module, _inputs, outputs: logits.append(outputs[0])
        )
        try:
            yield smooth
        finally:
            handle.remove()

    @contextmanager
    def recorded_proposals(self) -> Iterator[list[Proposals]]:
        """See `Detector`."""
        found: list[Proposals] = []
        pooled: list[tuple[list[Tensor], list[tuple[int, int]]]] = []

        def classified(_: nn.Module, inputs: tuple[Tensor], outputs: tuple[Tensor, Tensor]) -> None:
            boxes, sizes = pooled.pop()
            counts = [len(of_image) for of_image in boxes]
            parts = zip(*(torch.split(x, counts) for x in (inputs[0], outputs[0])), strict=True)
            for of_image, size, (features, logits) in zip(boxes, sizes, parts, strict=True):
                found.append(Proposals(boxes=of_image, size=size, features=features, logits=logits))

        handles = [
            self.roi_heads.box_roi_pool.register_forward_pre_hook(
                lambda _module, inputs: pooled.append(inputs[1:])
            ),
            self.roi_heads.box_predictor.register_forward_hook(classified),
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()


def _v1_heads(options: DetectorOptions) -> tuple[int, nn.Module]:
    return 1, TwoMLPHead(options.fpn_channels * _ROI_SIZE**2, options.head_width)


def _v2_heads(options: DetectorOptions) -> tuple[int, nn.Module]:
    shape = (options.fpn_channels, _ROI_SIZE, _ROI_SIZE)
    widths = [options.fpn_channels] * 4
    return 2, FastRCNNConvFCHead(shape, widths, [options.head_width], norm_layer=nn.BatchNorm2d)


HEADS: Final = {"v1": _v1_heads, "v2": _v2_heads}


def _pyramid(backbone: Backbone, options: DetectorOptions) -> tuple[FPN, AnchorGenerator]:
    channels = {
        name: choose(backbone.channels, name, what="backbone feature") for name in options.features
    }
    if list(options.features) not in _NEIGHBOURS:
        raise UserError(
            f"features takes neighbouring stages, finest first, such as c3, c4, c5; got "
            f"{', '.join(options.features)}."
        )
    fpn = FPN(channels, out_channels=options.fpn_channels, norm=options.fpn_norm, extra="pool")
    if len(options.anchor_sizes) != len(fpn.levels):
        raise UserError(
            f"anchor_sizes takes one size per pyramid level ({', '.join(fpn.levels)}), got "
            f"{list(options.anchor_sizes)}."
        )
    sizes = tuple((size,) for size in options.anchor_sizes)
    return fpn, AnchorGenerator(sizes, (_ASPECT_RATIOS,) * len(sizes))


def build_detector(backbone: Backbone, *, num_classes: int, options: DetectorOptions) -> Detector:
    """Build a Faster R-CNN that normalises and resizes images in [0, 1] itself.

    ``num_classes`` is without the background, label 0. State-dict names are those of torchvision's
    ``fasterrcnn_resnet50_fpn`` and ``_v2``, so that their checkpoints load strictly.
    """
    fpn, anchors = _pyramid(backbone, options)
    strides = [backbone.strides[name] for name in options.features]
    rpn_depth, box_head = choose(HEADS, options.head, what="detection head")(options)
    proposals = max(options.proposals, options.detections_per_image)
    detector = _Detector(
        BackboneWithFPN(backbone, fpn),
        min_size=options.min_size,
        max_size=options.max_size,
        image_mean=list(backbone.conventions.mean),
        image_std=list(backbone.conventions.std),
        rpn_anchor_generator=anchors,
        rpn_head=FullRPNHead(options.fpn_channels, len(_ASPECT_RATIOS), conv_depth=rpn_depth),
        box_roi_pool=PyramidRoIAlign(fpn.levels[:-1], _ROI_SIZE, strides=strides),
        box_head=box_head,
        box_predictor=_FullPredictor(options.head_width, num_classes + 1),
        box_score_thresh=options.score_threshold,
        box_detections_per_img=options.detections_per_image,
        rpn_pre_nms_top_n_train=2 * options.proposals,
        rpn_post_nms_top_n_train=2 * options.proposals,
        rpn_pre_nms_top_n_test=proposals,
        rpn_post_nms_top_n_test=proposals,
        box_batch_size_per_image=options.rois_per_image,
    )
    detector.rpn = SampledRPN.of(detector.rpn)
    if options.class_agnostic_nms:
        detector.suppress_across_classes()
    return detector
