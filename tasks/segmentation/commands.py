"""What ``scripts/predict.py`` and ``scripts/evaluate.py`` do with a segmenter; torch comes late."""

from argparse import Namespace
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tasks.common.run.commands import Commands, check_classes

if TYPE_CHECKING:
    from tasks.common.report.progress import Step
    from tasks.common.statistics.paired import Scored
    from tasks.segmentation.export import ExportedSegmenter


def _predict(options: Namespace) -> "Generator[Step, None, None]":
    from tasks.common.predict.predict import PredictOptions
    from tasks.segmentation.scores.predict import find_cases, predict_cases
    from tasks.segmentation.scores.trained import load_segmenter
    from tasks.segmentation.scores.windows import TILES

    model = load_segmenter(options.checkpoint, device=options.device, exif=options.exif)
    cases = find_cases(options.sources, channels=model.card.channels, output=options.output)
    wanted = PredictOptions.of(options)
    tiles = options.batch_size or max(TILES, wanted.batch_size)
    yield from predict_cases(model, cases, wanted, tiles=tiles)


def _score(options: Namespace) -> Mapping[str, Any]:
    from tasks.segmentation.scores.evaluate import evaluate, read_cases
    from tasks.segmentation.scores.trained import load_segmenter

    checkpoint, truth, images = options.paths
    model = load_segmenter(checkpoint, device=options.device, exif=options.exif)
    split, unit = read_cases(truth, images, model.card, mask_suffix=options.mask_suffix)
    cases, summary = evaluate(model, split, tolerance=_tolerance(options))
    _show(options, cases, summary, source=truth, unit=unit, notes=split.notes)
    others = None
    if options.against:
        other = load_segmenter(options.against, device=options.device, exif=options.exif)
        check_classes(other.card.classes.names, model.card.classes.names, of=options.against)
        answered, _ = read_cases(truth, images, other.card, mask_suffix=options.mask_suffix)
        others, _ = evaluate(other, answered, tolerance=_tolerance(options))
    return {**summary, **_intervals(options, checkpoint, cases, others)}


def _score_results(options: Namespace) -> Mapping[str, Any]:
    from tasks.segmentation.scores.evaluate import evaluate_masks

    score = partial(
        evaluate_masks,
        masks=options.paths[0],
        tolerance=_tolerance(options),
        exif=options.exif or "refuse",
        mask_suffix=options.mask_suffix,
    )
    cases, summary, unit, notes = score(options.results)
    _show(options, cases, summary, source=options.results, unit=unit, notes=notes)
    others = score(options.against)[0] if options.against else None
    return {**summary, **_intervals(options, options.results, cases, others)}


def _intervals(
    options: Namespace, source: Path, cases: Mapping[str, Any], others: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Print the interval of Dice, and the comparison with ``--against``; return both."""
    from tasks.common.report.intervals import Named, report_intervals
    from tasks.segmentation.scores.dice_score import scored

    ours = Named(str(source), scored(cases))
    against = None if others is None else Named(str(options.against), scored(others))
    return report_intervals(ours, against, resamples=options.resamples)


def _kept(folder: Path) -> "Scored":
    from tasks.segmentation.scores.dice_score import read_scored

    return read_scored(folder)


def _main_scores(scores: Mapping[str, Any]) -> Mapping[str, float]:
    dice = {name: row["dice"] for name, row in scores.items() if name != "mean"}
    return {"dice": scores["mean"]["dice"]} | {f"dice/{name}": one for name, one in dice.items()}


def _show(
    options: Namespace,
    cases: Mapping[str, Any],
    summary: Mapping[str, Any],
    *,
    source: Path,
    unit: str,
    notes: Sequence[str],
) -> None:
    """Print the notes and the table, and write the scores of each case."""
    from tasks.common.report.terminal import print_line
    from tasks.segmentation.scores.evaluate import print_summary
    from tasks.segmentation.scores.metrics import write_case_scores

    for note in notes:
        print_line(note)
    print_summary(f"{source}: {len(cases)} cases", summary, unit=unit)
    if options.cases:
        write_case_scores(options.cases, cases)


def _tolerance(options: Namespace) -> float:
    return 2.0 if options.tolerance is None else float(options.tolerance)


def _export(checkpoint: Path) -> "ExportedSegmenter":
    from tasks.segmentation.export import ExportedSegmenter
    from tasks.segmentation.scores.trained import load_segmenter

    return ExportedSegmenter(load_segmenter(checkpoint, device="cpu"), checkpoint=checkpoint)


COMMANDS: Final = Commands(
    noun="segmenter",
    predict_flags={},
    evaluate_flags={
        "--cases": {"type": Path, "help": "CSV file to write each case's scores to"},
        "--mask-suffix": {"help": "what true masks have behind the image's name, such as _drawn"},
        "--tolerance": {"type": float, "help": "of NSD, in mm for volumes, else pixels (2)"},
    },
    overlays="masks",
    predict=_predict,
    score=_score,
    score_results=_score_results,
    kept=_kept,
    main_scores=_main_scores,
    takes=Path.is_dir,
    export=_export,
)
