"""Score a checkpoint on annotated images: ``python scripts/evaluate.py CHECKPOINT JSON IMAGES``."""

import argparse
from pathlib import Path

from tasks.common.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description="Print COCO AP, overall and per class.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of scripts/train_det.py")
    parser.add_argument("annotations", type=Path, help="COCO file, or folder of Pascal-VOC XML")
    parser.add_argument("images", type=Path, help="folder of the images")
    parser.add_argument("--output", type=Path, help="JSON file to write the scores to")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    return parser.parse_args()


def main() -> None:
    """Evaluate, and print the table."""
    options = arguments()
    from tasks.common.machine import accelerator, prepare_cpu
    from tasks.common.run_folder import write_json
    from tasks.detection.checkpoint import load_detector
    from tasks.detection.evaluate import evaluate, print_ap, read_annotations

    device = accelerator(options.device).value
    prepare_cpu(0)
    detector, card = load_detector(options.checkpoint)
    split = read_annotations(options.annotations, options.images, classes=card.classes)
    scores = evaluate(detector.to(device), card, split)
    print_ap(f"{split.source}: {len(split.images)} images", scores, card.classes)
    if options.output:
        write_json(options.output, scores)


if __name__ == "__main__":
    exit_on_error(main)
