"""Run a checkpoint on images: ``python scripts/predict.py CHECKPOINT SOURCE [--output DIR]``."""

import argparse
from pathlib import Path

from tasks.common.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Detect in an image or a folder; write COCO results and overlays."
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of scripts/train_det.py")
    parser.add_argument("source", type=Path, help="an image, or a folder of images")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write")
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="lowest score drawn in the overlays"
    )
    parser.add_argument(
        "--annotations", type=Path, help="COCO file that gives the images their ids"
    )
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    return parser.parse_args()


def main() -> None:
    """Predict, and print a line per image."""
    options = arguments()
    from tasks.common.machine import accelerator, prepare_cpu
    from tasks.detection.checkpoint import load_detector
    from tasks.detection.predict import find_images, predict_files, read_image_ids

    device = accelerator(options.device).value
    prepare_cpu(0)
    detector, card = load_detector(options.checkpoint)
    files = find_images(options.source)
    ids = read_image_ids(options.annotations) if options.annotations else None
    for line in predict_files(
        detector.to(device),
        card,
        files,
        output=options.output,
        threshold=options.threshold,
        image_ids=ids,
    ):
        print(line, flush=True)
    print(f"predictions.json, images.json and overlays are in {options.output}")


if __name__ == "__main__":
    exit_on_error(main)
