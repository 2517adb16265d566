"""Score a checkpoint: ``python scripts/evaluate.py CHECKPOINT TRUTH IMAGES``."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.common.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Print COCO AP of a detector, or Dice and distances of a segmenter, per class."
    )
    parser.add_argument("checkpoint", type=Path, help="of scripts/train_det.py or train_seg.py")
    parser.add_argument(
        "truth", type=Path, help="COCO file, folder of Pascal-VOC XML, or folder of masks"
    )
    parser.add_argument("images", type=Path, help="folder of the images")
    parser.add_argument("--output", type=Path, help="JSON file to write the scores to")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    detection = parser.add_argument_group("detection only")
    detection.add_argument(
        "--precision", help="bf16, fp16 or 32; bf16 by itself if the machine has it"
    )
    detection.add_argument(
        "--one-based",
        action=argparse.BooleanOptionalAction,
        help="whether Pascal-VOC coordinates count from 1; as in training where not given",
    )
    segmentation = parser.add_argument_group("segmentation only")
    segmentation.add_argument("--cases", type=Path, help="CSV file to write each case's scores to")
    segmentation.add_argument(
        "--tolerance", type=float, default=2.0, help="of NSD, in mm for NIfTI, else pixels"
    )
    return parser.parse_args()


def score_detector(options: argparse.Namespace, device: str) -> Mapping[str, Any]:
    """Print the table of AP, and return the scores."""
    from tasks.common.machine import autocast
    from tasks.detection.checkpoint import load_detector
    from tasks.detection.evaluate import evaluate, print_ap, read_annotations

    if options.cases is not None:
        raise ValueError("--cases is for segmenters; leave it out.")
    detector, card = load_detector(options.checkpoint)
    one_based = card.one_based if options.one_based is None else options.one_based
    split = read_annotations(
        options.truth, options.images, classes=card.classes, one_based=one_based
    )
    with autocast(options.precision or "auto", device=device):
        scores = evaluate(detector.to(device), card, split)
    title = f"{split.source}: {len(split.images)} images"
    print_ap(title, scores, card.classes, limit=card.options.scored_detections)
    return scores


def score_segmenter(options: argparse.Namespace, device: str) -> Mapping[str, Any]:
    """Print the table of Dice and distances, and return the scores."""
    from tasks.segmentation.checkpoint import load_segmenter
    from tasks.segmentation.evaluate import evaluate, print_summary, read_cases
    from tasks.segmentation.metrics import write_case_scores

    if options.precision is not None:
        raise ValueError("--precision is for detectors; a segmenter computes in float32.")
    segmenter, card = load_segmenter(options.checkpoint)
    split, unit = read_cases(options.truth, options.images, card)
    cases, summary = evaluate(segmenter.to(device), card, split, tolerance=options.tolerance)
    print_summary(f"{options.truth}: {len(cases)} cases", summary, unit=unit)
    if options.cases:
        write_case_scores(options.cases, cases)
    return summary


def main() -> None:
    """Evaluate, and print the table."""
    options = arguments()
    from tasks.common.checkpoint import task_of
    from tasks.common.machine import accelerator, prepare_cpu
    from tasks.common.run_folder import write_json

    device = accelerator(options.device).value
    prepare_cpu(0)
    score = score_detector if task_of(options.checkpoint) == "detection" else score_segmenter
    scores = score(options, device)
    if options.output:
        write_json(options.output, scores)


if __name__ == "__main__":
    exit_on_error(main)
