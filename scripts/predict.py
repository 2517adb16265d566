"""Run a checkpoint on images: ``python scripts/predict.py CHECKPOINT SOURCE... [--output DIR]``."""

import argparse
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from tasks.common.run.arguments import add_inference, refuse
from tasks.common.run.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Detect or segment, as the checkpoint was trained to, in images and folders."
    )
    parser.add_argument("checkpoint", type=Path, help="or the run's folder, for its best one")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="source",
        help="an image or volume; a folder, with all below it; a pattern such as 'images/*/*.png'",
    )
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of an earlier prediction"
    )
    detection = add_inference(parser)
    detection.add_argument(
        "--threshold", type=float, help="lowest score drawn in the overlays (0.5)"
    )
    detection.add_argument(
        "--annotations", type=Path, help="COCO file that gives the images their ids"
    )
    return parser.parse_args()


def detect(options: argparse.Namespace, device: str) -> Generator[str, None, None]:
    """Write COCO results and overlays; yield a line per image."""
    from tasks.common.machine.precision import autocast
    from tasks.detection.model.card import load_detector
    from tasks.detection.scores.image_ids import match_ids, read_image_ids
    from tasks.detection.scores.predict import find_images, predict_files

    files, ids = find_images(options.sources, output=options.output), None
    if options.annotations:
        ids, said = match_ids(files, read_image_ids(options.annotations))
        yield from [said] * bool(said)
    detector, card = load_detector(
        options.checkpoint,
        detections_per_image=options.max_detections,
        exif=options.exif,
        range_=tuple(options.range) if options.range else None,
    )
    with autocast(options.precision or "auto", device=device, option="--precision"):
        yield from predict_files(
            detector.to(device),
            card,
            files,
            output=options.output,
            threshold=0.5 if options.threshold is None else options.threshold,
            image_ids=ids,
        )
    yield f"predictions.json, images.json and overlays are in {options.output}"


def segment(options: argparse.Namespace, device: str) -> Generator[str, None, None]:
    """Write masks and overlays; yield a line per case."""
    from tasks.segmentation.model.card import load_segmenter
    from tasks.segmentation.scores.predict import find_cases, predict_cases

    names = ("threshold", "annotations", "precision", "max_detections", "range")
    refuse(options, *names, of=f"detectors, and {options.checkpoint} is a segmenter")
    segmenter, card = load_segmenter(options.checkpoint, exif=options.exif)
    cases = find_cases(options.sources, channels=card.channels, output=options.output)
    yield from predict_cases(segmenter.to(device), card, cases, output=options.output)
    yield f"masks and overlays are in {options.output}"


def main() -> None:
    """Predict, and print a line per image."""
    options = arguments()
    from tasks.common.files.paths import check_output
    from tasks.common.machine.machine import accelerator
    from tasks.common.machine.threads import prepare_cpu
    from tasks.common.resume.card import find_checkpoint, task_of

    check_output(options.output, overwrite=options.overwrite)
    device = accelerator(options.device, option="--device").value
    prepare_cpu(0)
    wanted, options.checkpoint = options.checkpoint, find_checkpoint(options.checkpoint)
    if options.checkpoint != wanted:
        print(f"checkpoint {options.checkpoint}", flush=True)
    predict = {"detection": detect, "segmentation": segment}[task_of(options.checkpoint)]
    try:
        with closing(predict(options, device)) as lines:
            for line in lines:
                print(line, flush=True)
    except KeyboardInterrupt:
        print(f"stopped; what was done is in {options.output}", flush=True)
        raise


if __name__ == "__main__":
    exit_on_error(main)
