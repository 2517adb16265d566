"""One detection run: data, detector, training, scores, report."""

from dataclasses import asdict
from typing import Final

from omegaconf import DictConfig

from tasks.common.report import print_line
from tasks.common.run import Outcome, Task, run_task
from tasks.detection.assemble import Parts, assemble
from tasks.detection.checkpoint import DetectorCard, load_detector
from tasks.detection.evaluate import print_ap
from tasks.detection.facts import facts
from tasks.detection.limits import crowded
from tasks.detection.predict import draw_predictions
from tasks.detection.transforms import AugmentOptions


def run(cfg: DictConfig) -> float:
    """Train, validate and test a detector; return the best validation AP.

    Args:
        cfg: The composed configuration; see ``configs/detection/detection.yaml``.

    Raises:
        Exception: What `tasks.common.run.run_task` raises.
    """
    return run_task(cfg, _TASK)


def _show(parts: Parts, outcome: Outcome) -> None:
    detector, card = load_detector(outcome.best)
    draw_predictions(detector, card, parts.splits.val, outcome.folder / "predictions.png")
    tested, options = parts.splits.tested, card.options
    print_ap(parts.heading, parts.scores, card.classes, limit=options.scored_detections)
    found, remedy = options.detections_per_image, "model.detections_per_image="
    if text := crowded(tested.truth, found=found, remedy=remedy):
        print_line(f"warning: {text}")


_TASK: Final = Task(
    name="detection",
    title="Keel: Faster R-CNN",
    monitor="val/ap",
    shown=("val/ap", "val/ap50", "val/ap75", "val/ap_small", "val/ap_medium", "val/ap_large"),
    parse=DetectorCard.from_dict,
    assemble=assemble,
    facts=facts,
    usual={"augment": asdict(AugmentOptions())},
    show=_show,
)
