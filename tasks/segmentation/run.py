"""One segmentation run: data, segmenter, training, scores, report."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from omegaconf import DictConfig

from tasks.common.report.clock import Clock
from tasks.common.report.metric import monitored, shown
from tasks.common.report.page.blocks import Section
from tasks.common.run.run import run_task
from tasks.common.run.task import Outcome, Show, Task
from tasks.segmentation.assemble import Parts, assemble
from tasks.segmentation.banner import facts
from tasks.segmentation.config import SEGMENTATION
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.options import AugmentOptions, DataOptions, LossOptions
from tasks.segmentation.report.sections import segmenter_sections
from tasks.segmentation.scores.evaluate import print_summary
from tasks.segmentation.scores.metrics import LOGGED, write_case_scores
from tasks.segmentation.scores.predict import draw_predictions
from tasks.segmentation.scores.trained import load_segmenter


def run(cfg: DictConfig, clock: Clock | None = None) -> float:
    """Train, validate and test a segmenter; return the best validation Dice."""
    return run_task(cfg, _TASK, clock)


def _write_cases(parts: Parts, outcome: Outcome) -> None:
    scores, patients = parts.module.results, parts.splits.tested.cases.patients
    write_case_scores(outcome.folder / "cases.csv", scores, patients=patients)


def _draw(parts: Parts, outcome: Outcome) -> None:
    model = load_segmenter(outcome.best_file, device="cpu")
    draw_predictions(model, parts.splits.val.cases, outcome.folder / "predictions.png")


def _print(parts: Parts, outcome: Outcome) -> None:  # noqa: ARG001 (as the others)
    print_summary(parts.heading, parts.scores, unit=parts.splits.train.facts[0].unit)


def _sections(parts: Parts, outcome: Outcome) -> Sequence[Section]:  # noqa: ARG001 (as the others)
    module = parts.module
    return segmenter_sections(
        parts.splits.tested.cases,
        module.results if parts.scores else None,
        module.worst,
        name=parts.scored,
        options=module.card.input,
        tolerance=module.tolerance,
        unit=parts.splits.train.facts[0].unit,
    )


def _truth(parts: Parts) -> str:
    """Return what to put there: masks of other splits may lie in the same folder."""
    tolerance = f" --tolerance {parts.module.tolerance:g}"
    return f"<the folder of {parts.scored}'s masks> <that of its images>{tolerance}"


_TASK: Final = Task(
    training=SEGMENTATION,
    title="Keel: ResNet-UNet",
    monitor=monitored(LOGGED),
    score="Dice",
    shown=shown(LOGGED),
    card=SegmenterCard,
    assemble=assemble,
    facts=facts,
    defaults={
        "augment": asdict(AugmentOptions()),
        "loss": asdict(LossOptions()),
        "split": asdict(DataOptions()),
    },
    shows=(
        Show(what="cases.csv", do=_write_cases, scores=True),
        Show(what="predictions.png", do=_draw),
        Show(what="the table of scores", do=_print, scores=True),
    ),
    truth=_truth,
    sections=_sections,
)
