"""Run a checkpoint on images: ``python scripts/predict.py CHECKPOINT SOURCE [--output DIR]``."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tasks.common.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Detect or segment, as the checkpoint was trained to, in an image or a folder."
    )
    parser.add_argument("checkpoint", type=Path, help="of scripts/train_det.py or train_seg.py")
    parser.add_argument("source", type=Path, help="an image or volume, or a folder of them")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of an earlier prediction"
    )
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    detection = parser.add_argument_group("detection only")
    detection.add_argument(
        "--threshold", type=float, help="lowest score drawn in the overlays (0.5)"
    )
    detection.add_argument(
        "--precision", help="bf16, fp16 or 32; bf16 by itself if the machine has it"
    )
    detection.add_argument(
        "--annotations", type=Path, help="COCO file that gives the images their ids"
    )
    return parser.parse_args()


def detect(options: argparse.Namespace, device: str) -> Iterator[str]:
    """Write COCO results and overlays; yield a line per image."""
    from tasks.common.machine import autocast
    from tasks.detection.checkpoint import load_detector
    from tasks.detection.predict import find_images, predict_files, read_image_ids

    detector, card = load_detector(options.checkpoint)
    files = find_images(options.source)
    ids = read_image_ids(options.annotations) if options.annotations else None
    with autocast(options.precision or "auto", device=device):
        yield from predict_files(
            detector.to(device),
            card,
            files,
            output=options.output,
            threshold=0.5 if options.threshold is None else options.threshold,
            image_ids=ids,
        )
    yield f"predictions.json, images.json and overlays are in {options.output}"


def segment(options: argparse.Namespace, device: str) -> Iterator[str]:
    """Write masks and overlays; yield a line per case."""
    from tasks.segmentation.checkpoint import load_segmenter
    from tasks.segmentation.predict import find_cases, predict_cases

    if any(o is not None for o in (options.threshold, options.annotations, options.precision)):
        raise ValueError(
            "--threshold, --annotations and --precision are for detectors, and "
            f"{options.checkpoint} is a segmenter; leave them out."
        )
    segmenter, card = load_segmenter(options.checkpoint)
    cases = find_cases(options.source, channels=card.channels)
    yield from predict_cases(segmenter.to(device), card, cases, output=options.output)
    yield f"masks and overlays are in {options.output}"


def main() -> None:
    """Predict, and print a line per image."""
    options = arguments()
    from tasks.common.checkpoint import task_of
    from tasks.common.machine import accelerator, prepare_cpu
    from tasks.common.paths import check_output

    check_output(options.output, overwrite=options.overwrite)
    device = accelerator(options.device).value
    prepare_cpu(0)
    predict = {"detection": detect, "segmentation": segment}[task_of(options.checkpoint)]
    for line in predict(options, device):
        print(line, flush=True)


if __name__ == "__main__":
    exit_on_error(main)
