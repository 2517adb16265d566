"""One segmentation run: data, segmenter, training, scores, report."""

from pathlib import Path
from typing import Final

from omegaconf import DictConfig

from tasks.common.audit_only import audit_only, is_audit_only
from tasks.common.batch_size import settle_batch_size
from tasks.common.report import print_line
from tasks.common.run import TaskText, carry_out, write_report
from tasks.common.run_folder import new_folder
from tasks.segmentation.assemble import assemble
from tasks.segmentation.checkpoint import SegmenterCard, load_segmenter
from tasks.segmentation.evaluate import print_summary
from tasks.segmentation.facts import facts
from tasks.segmentation.metrics import write_case_scores
from tasks.segmentation.predict import draw_predictions

_TEXT: Final = TaskText(
    title="Keel: ResNet-UNet",
    parse=SegmenterCard.from_dict,
    monitor="val/dice",
    shown=("val/dice", "val/miss_rate", "val/precision", "val/recall"),
)


def run(cfg: DictConfig) -> float:
    """Train, validate and test a segmenter as ``cfg`` says; return the best validation Dice.

    With ``audit=only`` nothing is trained and NaN is returned.

    What is wrong with the configuration, the data or the weights is found out before the first
    step, and before anything is written.

    Args:
        cfg: The composed configuration; see ``configs/segmentation/segmentation.yaml``.

    Raises:
        ValueError: If a value, the data or the weights do not fit; nothing was trained.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
        AuditError: If what trains is not what the configuration says; checkpoints are kept.
        FloatingPointError: If a loss stops being finite; the last checkpoint is kept.
        SystemExit: If the run is interrupted, with a message that says how to go on.
    """
    only = is_audit_only(cfg.audit)
    folder = new_folder(cfg.run_dir, parent=Path("runs/segmentation"), name=cfg.backbone.name)
    cfg_batch_size = cfg.recipe.batch_size
    batch_size = settle_batch_size(cfg, assemble)
    parts = assemble(cfg)
    said = facts(parts)
    if cfg_batch_size == "auto":
        said["batch size"] = str(batch_size)
    if only:
        return audit_only(parts, text=_TEXT, facts=said, folder=folder)
    outcome = carry_out(cfg, parts, parts.card, text=_TEXT, facts=said, folder=folder)
    if not outcome.is_first:
        return outcome.score
    scores, scored = parts.module.scores["test"], "test" if parts.splits.test else "val"
    write_report(folder, outcome, text=_TEXT, scores=scores, scored_split=scored)
    write_case_scores(folder / "cases.csv", parts.module.cases)
    segmenter, card = load_segmenter(outcome.best)
    draw_predictions(segmenter, card, parts.splits.val.cases, folder / "predictions.png")
    split = scored if parts.splits.test else "val (there is no test split)"
    unit = parts.splits.train.facts[0].unit
    print_summary(f"Scores of the best checkpoint on {split}", scores, unit=unit)
    print_line(f"audit: {outcome.audit}")
    print_line(f"{outcome.seconds:.0f} s in all; everything is in {folder}")
    return outcome.score
