"""What ``scripts/predict.py`` and ``scripts/evaluate.py`` do with a detector; torch comes late."""

from argparse import BooleanOptionalAction, Namespace
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tasks.common.machine.options import PRECISIONS
from tasks.common.run.commands import Commands, Flags, count, refuse

if TYPE_CHECKING:
    from tasks.detection.export import ExportedDetector
    from tasks.detection.scores.regions import RegionOptions
    from tasks.detection.scores.trained import TrainedDetector

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


def _load(options: Namespace) -> "TrainedDetector":
    from tasks.common.report.advice import without_training
    from tasks.detection.scores.trained import load_detector

    with without_training():
        return load_detector(
            options.checkpoint,
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


def _predict(options: Namespace) -> Generator[str, None, None]:
    from tasks.detection.scores.image_ids import match_ids, read_image_ids
    from tasks.detection.scores.predict import find_images, predict_files

    regions = _regions(options)
    files, ids = find_images(options.sources, output=options.output), None
    if options.annotations:
        ids, note = match_ids(files, read_image_ids(options.annotations))
        yield from [note] * bool(note)
    yield from predict_files(
        _load(options),
        files,
        output=options.output,
        threshold=0.5 if options.threshold is None else options.threshold,
        image_ids=ids,
        regions=regions,
    )
    more = ", regions" if regions else ""
    yield f"predictions.json, images.json{more} and overlays are in {options.output}"


def _score(options: Namespace) -> Mapping[str, Any]:
    from tasks.detection.scores.evaluate import evaluate, print_evaluation, read_annotations

    options.checkpoint, truth, images = options.paths
    model = _load(options)
    card = model.card
    one_based = card.one_based if options.one_based is None else options.one_based
    split = read_annotations(
        truth,
        images,
        classes=card.classes,
        one_based=one_based,
        reading=card.reading,
        options=card.options,
    )
    scores = evaluate(model, split)
    print_evaluation(split, scores, card)
    return scores


def _score_results(options: Namespace) -> Mapping[str, Any]:
    from tasks.detection.scores.evaluate import print_results
    from tasks.detection.scores.results import evaluate_results, read_truth

    refuse(options, "precision", "one_based", "exif", "range", what="checkpoints")
    split = read_truth(options.paths[0])
    scores, limit, notes = evaluate_results(options.results, split, limit=options.max_detections)
    print_results(options.results, split, scores, limit=limit, suspicions=notes)
    return scores


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
        "--threshold": {"type": float, "help": "lowest score drawn in the overlays (0.5)"},
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
    predict=_predict,
    score=_score,
    score_results=_score_results,
    takes=lambda path: not path.is_dir(),
    export=_export,
)
