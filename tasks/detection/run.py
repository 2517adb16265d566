"""One detection run: data, detector, training, scores, report."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from omegaconf import DictConfig

from tasks.common.report.clock import Clock
from tasks.common.report.metric import monitored, shown
from tasks.common.report.page.blocks import Section
from tasks.common.report.terminal import print_line
from tasks.common.run.run import run_task
from tasks.common.run.task import Outcome, Show, Task
from tasks.detection.assemble import Parts, assemble
from tasks.detection.banner import facts
from tasks.detection.config import DETECTION
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import AugmentOptions
from tasks.detection.report.sections import detector_sections
from tasks.detection.scores.evaluate import print_ap
from tasks.detection.scores.kept import KEPT, write_kept
from tasks.detection.scores.metrics import METRICS, crowded
from tasks.detection.scores.predict import draw_predictions
from tasks.detection.scores.trained import load_detector


def run(cfg: DictConfig, clock: Clock | None = None) -> float:
    """Train, validate and test a detector; return the best validation AP."""
    return run_task(cfg, _TASK, clock)


def _keep(parts: Parts, outcome: Outcome) -> None:
    splits, results = parts.splits, parts.module.results
    write_kept(outcome.folder / KEPT, splits.tested.truth, results, group=splits.group)


def _draw(parts: Parts, outcome: Outcome) -> None:
    model = load_detector(outcome.best_file, device="cpu", precision="32")
    draw_predictions(model, parts.splits.val, outcome.folder / "predictions.png")


def _print(parts: Parts, outcome: Outcome) -> None:  # noqa: ARG001 (as the others)
    tested, card = parts.splits.tested, parts.module.card
    print_ap(parts.heading, parts.scores, card.classes, limit=card.options.scored_detections)
    if text := crowded(tested.truth, found=card.options.detections_per_image):
        print_line(f"warning: {text}", always=True)


def _sections(parts: Parts, outcome: Outcome) -> Sequence[Section]:  # noqa: ARG001 (as the others)
    card = parts.module.card
    return detector_sections(
        parts.splits.tested,
        parts.module.results if parts.scores else None,
        name=parts.scored,
        limit=card.options.scored_detections,
        in_channels=card.in_channels,
    )


def _truth(parts: Parts) -> str:
    """Return the annotation file and the folder of the images, or what to put there."""
    tested = parts.splits.tested
    folders = {record.path.parent for record in tested.images}
    if Path(tested.source).is_file() and len(folders) == 1:
        return shlex.join([str(tested.source), str(folders.pop())])
    return f"<the annotations of {parts.scored}> <the folder of its images>"


_TASK: Final = Task(
    training=DETECTION,
    title="Keel: Faster R-CNN",
    monitor=monitored(METRICS),
    score="AP",
    shown=shown(METRICS),
    card=DetectorCard,
    assemble=assemble,
    facts=facts,
    defaults={"augment": asdict(AugmentOptions())},
    shows=(
        Show(what=KEPT, do=_keep, scores=True),
        Show(what="predictions.png", do=_draw),
        Show(what="the table of scores", do=_print, scores=True),
    ),
    truth=_truth,
    sections=_sections,
)
