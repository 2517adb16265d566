"""The AP of a trained detector, by Keel as it predicts and by torchvision as documented (float32).

    python scripts/benchmark.py scores-inference-ap <run>/checkpoints/best.ckpt
        <instances_test.json> <images>

torchvision's own Faster R-CNN gets the checkpoint's weights; both evaluate the same images.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from tasks.common.machine.threads import prepare_cpu
from tasks.detection.model.card import DetectorCard
from tasks.detection.scores.evaluate import evaluate, read_annotations
from tasks.detection.scores.trained import load_detector


def torchvision_detector(card: DetectorCard) -> FasterRCNN:
    """Return torchvision's detector of a card's architecture."""
    body = resnet_fpn_backbone(
        backbone_name=card.backbone, weights=None, norm_layer=FrozenBatchNorm2d
    )
    return FasterRCNN(
        body,
        num_classes=len(card.classes) + 1,
        min_size=card.options.min_size,
        max_size=card.options.max_size,
        image_mean=list(card.conventions.mean),
        image_std=list(card.conventions.std),
        box_score_thresh=card.options.score_threshold,
        box_detections_per_img=card.options.detections_per_image,
    )


def main(arguments: Sequence[str]) -> None:
    """Print the AP of both."""
    parser = argparse.ArgumentParser(prog="benchmark.py scores-inference-ap")
    for name in ("checkpoint", "annotations", "images"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    prepare_cpu(0)
    ours = load_detector(options.checkpoint, device="cpu")
    card = ours.card
    split = read_annotations(options.annotations, options.images, classes=card.classes)
    theirs = torchvision_detector(card)
    theirs.load_state_dict(ours.network.state_dict(), strict=True)
    systems = {
        "torchvision, float32": replace(ours, network=theirs.eval(), precision="32"),
        "Keel, float32": replace(ours, precision="32"),
        "Keel": ours,
    }
    for name, model in systems.items():
        scores = evaluate(model, split)
        ap, ap50 = 100 * scores["ap"], 100 * scores["ap50"]
        print(f"{name:22s} AP {ap:.3f}  AP50 {ap50:.3f}", flush=True)
