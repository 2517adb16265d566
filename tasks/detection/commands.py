"""What ``scripts/predict.py`` and ``scripts/evaluate.py`` do with a detector; torch comes late."""

import re
from argparse import ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backbones.choose import choose
from backbones.errors import UserError
from tasks.common.machine.options import PRECISIONS
from tasks.common.run.commands import Commands, Flags, check_classes, count, refuse

if TYPE_CHECKING:
    from tasks.common.files.input_files import NamedFile
    from tasks.common.report.progress import Step
    from tasks.common.statistics.paired import Scored
    from tasks.detection.export import ExportedDetector
    from tasks.detection.scores.regions import RegionOptions
    from tasks.detection.scores.trained import TrainedDetector

FORMATS: Final = ("coco", "csv", "yolo", "yolo-labels", "voc")
"""The keys of `tasks.detection.scores.result_files.RESULT_FILES`."""

_FLAGS: Final[Flags] = {
    "--precision": {"choices": list(PRECISIONS), "help": "bf16 by itself if the machine has it"},
    "--max-detections": {
        "type": count,
        "help": "per image; where not given as in training, with --results as the truth needs",
    },
    "--range": {
        "type": float,
        "nargs": 2,
        "metavar": ("LOW", "HIGH"),
        "help": "what becomes 0 and 255 of images of other types than 8 bits; as in training "
        "where not given",
    },
}


def _load(options: Namespace, checkpoint: Path | None = None) -> "TrainedDetector":
    from tasks.common.report.advice import without_training
    from tasks.detection.scores.trained import load_detector

    with without_training():
        return load_detector(
            checkpoint or options.checkpoint,
            device=options.device,
            precision=options.precision or "auto",
            detections_per_image=options.max_detections,
            exif=options.exif,
            range_=tuple(options.range) if options.range else None,
        )


def _regions(options: Namespace) -> "RegionOptions | None":
    from tasks.detection.scores.regions import RegionOptions

    given = {
        "least": options.min_regions,
        "most": options.max_regions,
        "threshold": options.region_threshold,
    }
    if not options.regions:
        refuse(
            options,
            *("min_regions", "max_regions", "region_threshold"),
            what="--regions, which is not given",
        )
        return None
    return RegionOptions(**{name: value for name, value in given.items() if value is not None})


def _formats(text: str) -> tuple[str, ...]:
    """Return the formats in a list with commas, for a type of argparse."""
    names = tuple(dict.fromkeys(text.split(",")))
    try:
        for name in names:
            choose(dict.fromkeys(FORMATS), name, what="format")
    except UserError as error:
        raise ArgumentTypeError(str(error)) from error
    if {"yolo", "yolo-labels"} <= {*names}:
        raise ArgumentTypeError("yolo and yolo-labels write the same files; give one of them")
    return names


def _image_ids(options: Namespace, files: "Sequence[NamedFile]") -> "tuple[list[int] | None, str]":
    """Return the ids of ``--annotations`` for the files, and a note about them."""
    from tasks.common.images.videos import is_video
    from tasks.detection.scores.image_ids import match_ids, read_image_ids

    if not options.annotations:
        return None, ""
    if "coco" not in (options.format or ["coco"]):
        raise UserError("--annotations is for --format coco, which has ids; leave it out.")
    if videos := [file.name for file in files if is_video(file.path)]:
        raise UserError(
            f"--annotations gives ids to images, and {videos[0]!r} is a video; predict videos in a "
            "call without it."
        )
    return match_ids(files, read_image_ids(options.annotations))


def _predict(options: Namespace) -> "Generator[Step, None, None]":
    from tasks.common.predict.predict import PredictOptions
    from tasks.common.report.progress import Step
    from tasks.detection.scores.predict import find_images, predict_files

    regions = _regions(options)
    files = find_images(options.sources, output=options.output)
    ids, note = _image_ids(options, files)
    yield from [Step(text=note)] * bool(note)
    yield from predict_files(
        _load(options),
        files,
        PredictOptions.of(options),
        threshold=0.5 if options.threshold is None else options.threshold,
        formats=options.format or ("coco",),
        image_ids=ids,
        regions=regions,
    )


def _score(options: Namespace) -> Mapping[str, Any]:
    from tasks.common.report.intervals import Named, report_intervals
    from tasks.detection.scores.ap_score import scored
    from tasks.detection.scores.evaluate import detect, print_evaluation, read_annotations
    from tasks.detection.scores.metrics import coco_ap

    options.checkpoint, truth, images = options.paths
    model = _load(options)
    card, limit = model.card, model.card.options.scored_detections
    one_based = card.one_based if options.one_based is None else options.one_based
    split = read_annotations(
        truth,
        images,
        classes=card.classes,
        one_based=one_based,
        reading=card.reading,
        options=card.options,
    )
    results = detect(model, split)
    scores = coco_ap(split.truth, results, limit=limit)
    print_evaluation(split, scores, card)
    ours = Named(str(options.checkpoint), scored(split.truth, results, limit=limit))
    against = None
    if options.against:
        other = _load(options, options.against)
        check_classes(other.card.classes, card.classes, of=options.against)
        limit = other.card.options.scored_detections
        theirs = scored(split.truth, detect(other, split), limit=limit)
        against = Named(str(options.against), theirs)
    return {**scores, **report_intervals(ours, against, resamples=options.resamples)}


def _score_results(options: Namespace) -> Mapping[str, Any]:
    from tasks.common.report.intervals import Named, report_intervals
    from tasks.detection.scores.ap_score import scored
    from tasks.detection.scores.evaluate import print_results
    from tasks.detection.scores.results import evaluate_results, read_results, read_truth

    refuse(options, "precision", "one_based", "exif", "range", what="checkpoints")
    split = read_truth(options.paths[0])
    found = evaluate_results(options.results, split, limit=options.max_detections)
    scores, limit, notes, results = found
    print_results(options.results, split, scores, limit=limit, suspicions=notes)
    ours = Named(str(options.results), scored(split.truth, results, limit=limit))
    against = None
    if options.against:
        others, _ = read_results(options.against, split.truth)
        against = Named(str(options.against), scored(split.truth, others, limit=limit))
    return {**scores, **report_intervals(ours, against, resamples=options.resamples)}


def _kept(folder: Path) -> "Scored":
    from tasks.detection.scores.ap_score import read_scored

    return read_scored(folder)


def _main_scores(scores: Mapping[str, Any]) -> Mapping[str, float]:
    return {name: value for name, value in scores.items() if re.fullmatch(r"ap(50)?|ap/.*", name)}


def _export(checkpoint: Path) -> "ExportedDetector":
    from tasks.common.report.advice import without_training
    from tasks.detection.export import ExportedDetector
    from tasks.detection.scores.trained import load_detector

    with without_training():
        model = load_detector(checkpoint, device="cpu", precision="32")
    return ExportedDetector(model, checkpoint=checkpoint)


COMMANDS: Final = Commands(
    noun="detector",
    predict_flags={
        **_FLAGS,
        "--threshold": {
            "type": float,
            "help": "lowest score in overlays, and in labels of YOLO and VOC (0.5)",
        },
        "--format": {
            "type": _formats,
            "metavar": "LIST",
            "help": f"one or more of {', '.join(FORMATS)}, with commas (coco); docs/predict.md",
        },
        "--annotations": {"type": Path, "help": "COCO file that gives the images their ids"},
        "--regions": {
            "action": "store_true",
            "default": None,
            "help": "write region features for vision-language models (docs/regions.md)",
        },
        "--min-regions": {
            "type": count,
            "help": "of an image, below the threshold if need be (10)",
        },
        "--max-regions": {"type": count, "help": "of an image, the best (100)"},
        "--region-threshold": {"type": float, "help": "lowest score of further regions (0.2)"},
    },
    evaluate_flags={
        **_FLAGS,
        "--one-based": {
            "action": BooleanOptionalAction,
            "help": "whether Pascal-VOC coordinates count from 1; as in training where not given",
        },
    },
    overlays="boxes",
    predict=_predict,
    score=_score,
    score_results=_score_results,
    kept=_kept,
    main_scores=_main_scores,
    takes=lambda path: not path.is_dir(),
    export=_export,
)
