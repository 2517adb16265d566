"""Score a checkpoint, or results of any tool.

``python scripts/evaluate.py CHECKPOINT TRUTH IMAGES`` or
``python scripts/evaluate.py --results RESULTS TRUTH``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.common.run.arguments import add_inference, refuse
from tasks.common.run.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Print COCO AP of a detector, or Dice and distances of a segmenter, per class.",
        usage="%(prog)s [options] CHECKPOINT TRUTH IMAGES\n"
        "       %(prog)s [options] --results RESULTS TRUTH",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="CHECKPOINT (or a run's folder, for its best one), TRUTH (a COCO file, a folder of "
        "Pascal-VOC XML or of masks) and IMAGES (a folder); with --results TRUTH alone",
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="score this in place of a checkpoint: a COCO results file, or a folder of masks",
    )
    parser.add_argument("--output", type=Path, help="JSON file to write the scores to")
    detection = add_inference(parser)
    detection.add_argument(
        "--one-based",
        action=argparse.BooleanOptionalAction,
        help="whether Pascal-VOC coordinates count from 1; as in training where not given",
    )
    segmentation = parser.add_argument_group("segmentation only")
    segmentation.add_argument("--cases", type=Path, help="CSV file to write each case's scores to")
    segmentation.add_argument(
        "--mask-suffix", help="what true masks have behind the image's name, such as _drawn"
    )
    segmentation.add_argument(
        "--tolerance", type=float, help="of NSD, in mm for NIfTI, else pixels (2)"
    )
    options = parser.parse_args()
    expected = ["TRUTH"] if options.results else ["CHECKPOINT", "TRUTH", "IMAGES"]
    if len(options.paths) != len(expected):
        parser.error(f"expected {' '.join(expected)}, got {len(options.paths)} paths")
    return options


def score_detector(options: argparse.Namespace) -> Mapping[str, Any]:
    """Print the table of AP, and return the scores."""
    from tasks.common.machine.precision import autocast
    from tasks.detection.model.card import load_detector
    from tasks.detection.scores.evaluate import evaluate, print_evaluation, read_annotations

    refuse(options, "cases", "mask_suffix", "tolerance", of="segmenters")
    checkpoint, truth, images = options.paths
    detector, card = load_detector(
        checkpoint,
        detections_per_image=options.max_detections,
        exif=options.exif,
        range_=tuple(options.range) if options.range else None,
    )
    one_based = card.one_based if options.one_based is None else options.one_based
    split = read_annotations(
        truth, images, classes=card.classes, one_based=one_based, reading=card.reading
    )
    with autocast(options.precision or "auto", device=options.device, option="--precision"):
        scores = evaluate(detector.to(options.device), card, split)
    print_evaluation(split, scores, card)
    return scores


def score_detections(options: argparse.Namespace) -> Mapping[str, Any]:
    """Print the table of AP of a results file, and return the scores."""
    from tasks.detection.scores.evaluate import print_results
    from tasks.detection.scores.results import evaluate_results, read_truth

    refuse(options, "cases", "mask_suffix", "tolerance", of="segmenters")
    refuse(options, "precision", "one_based", "exif", "range", of="checkpoints")
    split = read_truth(options.paths[0])
    scores, limit, said = evaluate_results(options.results, split, limit=options.max_detections)
    print_results(options.results, split, scores, limit=limit, suspicions=said)
    return scores


def score_segmenter(options: argparse.Namespace) -> Mapping[str, Any]:
    """Print the table of Dice and distances, and return the scores."""
    from tasks.segmentation.model.card import load_segmenter
    from tasks.segmentation.scores.evaluate import evaluate, print_summary, read_cases
    from tasks.segmentation.scores.metrics import write_case_scores

    refuse(options, "precision", "max_detections", "one_based", "range", of="detectors")
    checkpoint, truth, images = options.paths
    segmenter, card = load_segmenter(checkpoint, exif=options.exif)
    split, unit = read_cases(truth, images, card, mask_suffix=options.mask_suffix)
    cases, summary = evaluate(
        segmenter.to(options.device), card, split, tolerance=tolerance_of(options)
    )
    for note in split.notes:
        print(note)
    print_summary(f"{truth}: {len(cases)} cases", summary, unit=unit)
    if options.cases:
        write_case_scores(options.cases, cases)
    return summary


def score_masks(options: argparse.Namespace) -> Mapping[str, Any]:
    """Print the table of Dice and distances of a folder of masks, and return the scores."""
    from tasks.segmentation.scores.evaluate import evaluate_masks, print_summary
    from tasks.segmentation.scores.metrics import write_case_scores

    refuse(options, "precision", "max_detections", "one_based", "range", of="detectors")
    cases, summary, unit, notes = evaluate_masks(
        options.results,
        options.paths[0],
        tolerance=tolerance_of(options),
        exif=options.exif or "refuse",
        mask_suffix=options.mask_suffix,
    )
    for note in notes:
        print(note)
    print_summary(f"{options.results}: {len(cases)} cases", summary, unit=unit)
    if options.cases:
        write_case_scores(options.cases, cases)
    return summary


def tolerance_of(options: argparse.Namespace) -> float:
    """Return the tolerance of NSD."""
    return 2.0 if options.tolerance is None else float(options.tolerance)


def main() -> None:
    """Evaluate, and print the table."""
    options = arguments()
    from tasks.common.machine.machine import accelerator
    from tasks.common.machine.threads import prepare_cpu
    from tasks.common.report.run_folder import write_json
    from tasks.common.resume.card import find_checkpoint, task_of

    options.device = accelerator(options.device, option="--device").value
    prepare_cpu(0)
    if options.results is not None:
        score = score_masks if options.results.is_dir() else score_detections
    else:
        options.paths[0] = find_checkpoint(options.paths[0])
        is_detector = task_of(options.paths[0]) == "detection"
        score = score_detector if is_detector else score_segmenter
    scores = score(options)
    if options.output:
        write_json(options.output, scores)


if __name__ == "__main__":
    exit_on_error(main)
